"""When an agent was seen, which hooks it runs, and what a launcher takes"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("sites", sa.Column("agent_seen", sa.BigInteger(), nullable=True))
    op.add_column("sessions", sa.Column("takes", JSON, nullable=True))
    op.add_column("sessions", sa.Column("busy", JSON, nullable=True))


def downgrade() -> None:
    op.drop_column("sessions", "busy")
    op.drop_column("sessions", "takes")
    op.drop_column("sites", "agent_seen")
