"""What the nodes of a site hold"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0002"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("sites", sa.Column("nodes", JSON, nullable=True))


def downgrade() -> None:
    op.drop_column("sites", "nodes")
