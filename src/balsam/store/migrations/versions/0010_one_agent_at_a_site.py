"""Which agent holds a site, which one submits a BatchJob, and whether a site's agent moves files"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("sites", sa.Column("agent", JSON, nullable=True))
    op.add_column("sites", sa.Column("moves_files", sa.Boolean(), nullable=True))
    op.add_column("batch_jobs", sa.Column("submitting_by", JSON, nullable=True))


def downgrade() -> None:
    op.drop_column("batch_jobs", "submitting_by")
    op.drop_column("sites", "moves_files")
    op.drop_column("sites", "agent")
