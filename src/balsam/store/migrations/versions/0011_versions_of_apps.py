"""Versions of apps, and which one each run ran"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
# When an app of an older database was synced, nobody has noted: its first version has no time.
FIRST_VERSIONS = """
INSERT INTO app_versions (app_id, number, owner_id, digest, created, source_code)
SELECT id, 1, owner_id, '', NULL, source_code FROM apps
"""


def upgrade() -> None:
    op.add_column("apps", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column("apps", sa.Column("digest", sa.Text(), server_default="", nullable=False))
    op.add_column("runs", sa.Column("app_version", sa.Integer(), nullable=True))
    op.create_table(
        "app_versions",
        sa.Column("app_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=True),
        sa.Column("synced_by", sa.Text(), nullable=True),
        sa.Column("source_code", sa.Text(), nullable=False),
        sa.Column("parts", JSON, nullable=True),
        sa.ForeignKeyConstraint(["app_id"], ["apps.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("app_id", "number"),
    )
    op.create_index("ix_app_versions_owner_id", "app_versions", ["owner_id"])
    op.execute(FIRST_VERSIONS)


def downgrade() -> None:
    op.drop_table("app_versions")
    op.drop_column("runs", "app_version")
    op.drop_column("apps", "digest")
    op.drop_column("apps", "version")
