"""Small jobs first: the index of the order in which launchers take jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

INDEX = "ix_jobs_acquire"
FREE = sa.text(
    "session_id IS NULL AND state NOT IN ('CREATED', 'AWAITING_PARENTS', 'RUNNING', 'JOB_FINISHED', 'FAILED')"
)
SMALL_FIRST = ("num_nodes", "node_packing_count DESC", "wall_time_min DESC")
LARGE_FIRST = ("num_nodes DESC", "node_packing_count", "wall_time_min DESC")


def upgrade() -> None:
    _replace(SMALL_FIRST)


def downgrade() -> None:
    _replace(LARGE_FIRST)


def _replace(size: tuple[str, ...]) -> None:
    op.drop_index(INDEX, "jobs")
    columns = ["site_id", "state", "priority DESC", *size, "id"]
    op.create_index(
        INDEX, "jobs", [sa.text(one) for one in columns], sqlite_where=FREE, postgresql_where=FREE
    )
