"""Many processes and many rows: transactions of events, no foreign keys on bulk tables, lighter indexes"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Checked row by row, they took more than half the time of a bulk insert. Rows of these tables are only ever
# written by a transaction that has locked what they point to: see docs/decisions.
BULK = {
    "jobs": ("owner_id", "site_id", "app_id"),
    "job_tags": ("owner_id", "job_id"),
    "job_parents": ("job_id",),
    "transfers": ("owner_id", "site_id", "job_id"),
    "events": ("owner_id", "site_id", "job_id"),
    "runs": ("owner_id", "site_id", "job_id"),
}
RARE_MOVES = (
    "from_state NOT IN ('CREATED', 'STAGED_IN', 'PREPROCESSED', 'RUNNING', 'RUN_DONE', 'POSTPROCESSED')"
)
ACQUIRABLE = (
    "session_id IS NULL AND state NOT IN ('CREATED', 'AWAITING_PARENTS', 'RUNNING', 'JOB_FINISHED', 'FAILED')"
)


def upgrade() -> None:
    for name in ("ix_jobs_site_id", "ix_jobs_batch_job_id", "ix_jobs_session_id", "ix_jobs_acquire"):
        op.drop_index(name, "jobs")
    op.drop_index("ix_jobs_owner_id_state", "jobs")
    op.create_index("ix_jobs_owner_id_state", "jobs", ["owner_id", "state", "id"])
    op.create_index("ix_jobs_owner_id_site_id", "jobs", ["owner_id", "site_id", "id"])
    _partial("ix_jobs_batch_job_id", "jobs", ["batch_job_id"], "batch_job_id IS NOT NULL")
    _partial("ix_jobs_session_id", "jobs", ["session_id"], "session_id IS NOT NULL")
    order = "priority DESC", "num_nodes DESC", "node_packing_count", "wall_time_min DESC", "id"
    _partial("ix_jobs_acquire", "jobs", ["site_id", "state", *map(sa.text, order)], ACQUIRABLE)
    op.drop_index("ix_events_owner_id_from_state", "events")
    op.drop_index("ix_events_batch_job_id_timestamp", "events")
    _partial("ix_events_owner_id_from_state", "events", ["owner_id", "from_state", "timestamp"], RARE_MOVES)
    _partial(
        "ix_events_batch_job_id_timestamp",
        "events",
        ["batch_job_id", "timestamp"],
        "batch_job_id IS NOT NULL",
    )
    op.drop_index("ix_runs_owner_id_end", "runs")
    if op.get_bind().dialect.name == "postgresql":
        _only_on_postgresql()


def _only_on_postgresql() -> None:
    for table, columns in BULK.items():
        for column in columns:
            op.drop_constraint(f"{table}_{column}_fkey", table, type_="foreignkey")
    op.drop_index("ix_events_owner_id_id", "events")
    op.alter_column("events", "xid", server_default=sa.text("(pg_current_xact_id()::text)::bigint"))
    _partial("ix_events_owner_id_xid", "events", ["owner_id", "xid", "id"], "xid IS NOT NULL")
    # A run's end then goes into the page of its start, and no index is touched.
    op.execute("ALTER TABLE runs SET (fillfactor = 70)")


def _partial(name: str, table: str, columns: Sequence[str | sa.TextClause], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def downgrade() -> None:
    raise NotImplementedError("restore the backup made before the upgrade")
