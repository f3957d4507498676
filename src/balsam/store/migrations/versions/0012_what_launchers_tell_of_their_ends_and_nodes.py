"""Why a launcher ended, what its nodes lack for the moment, and how far its clock is ahead"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("sessions", sa.Column("ending", JSON, nullable=True))
    op.add_column("sessions", sa.Column("trouble", sa.Text(), nullable=True))
    op.add_column("sessions", sa.Column("clock_ahead_us", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("sessions", "clock_ahead_us")
    op.drop_column("sessions", "trouble")
    op.drop_column("sessions", "ending")
