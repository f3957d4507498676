"""Events by site, how often each tag is used, and what is left of what was pruned"""

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


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP STATISTICS st_job_tags")
    op.drop_index("ix_events_site_id_timestamp", "events")
