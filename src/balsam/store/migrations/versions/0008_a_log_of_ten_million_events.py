"""Events by site, how often each tag is used, and what is left of what was pruned"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_events_site_id_timestamp", "events", ["site_id", "timestamp"])
    if op.get_bind().dialect.name == "postgresql":
        # Else it takes keys and values for independent, and a common tag for a rare one.
        op.execute("CREATE STATISTICS st_job_tags (mcv, ndistinct) ON owner_id, key, value FROM job_tags")
    op.create_table(
        "totals",
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.Column("app_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("runs", sa.BigInteger(), nullable=False),
        sa.Column("node_hours", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("owner_id", "site_id", "app_id", "day", "state"),
    )
    op.create_index("ix_totals_site_id", "totals", ["site_id"])


def downgrade() -> None:
    op.drop_table("totals")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP STATISTICS st_job_tags")
    op.drop_index("ix_events_site_id_timestamp", "events")
