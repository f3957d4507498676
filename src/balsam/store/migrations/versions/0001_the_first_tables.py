"""The first tables"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "meta",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "users",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("username", name="uq_users_username"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "idempotency",
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("answer", JSON, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("owner_id", "key"),
    )
    op.create_index("ix_idempotency_created", "idempotency", ["created"], unique=False)

    op.create_table(
        "sites",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("globus_endpoint_id", sa.Text(), nullable=True),
        sa.Column("backfill_windows", JSON, nullable=False),
        sa.Column("queued_jobs", JSON, nullable=False),
        sa.Column("optional_batch_job_params", JSON, nullable=False),
        sa.Column("allowed_projects", JSON, nullable=False),
        sa.Column("allowed_queues", JSON, nullable=False),
        sa.Column("transfer_locations", JSON, nullable=False),
        sa.Column("last_refresh", sa.BigInteger(), nullable=False),
        sa.Column("creation_date", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("owner_id", "name", name="uq_sites_owner_id_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "apps",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("serialized_class", sa.Text(), nullable=False),
        sa.Column("source_code", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("parameters", JSON, nullable=False),
        sa.Column("transfers", JSON, nullable=False),
        sa.Column("hooks", JSON, nullable=True),
        sa.Column("isolate", sa.Boolean(), nullable=False),
        sa.Column("serializer", JSON, nullable=True),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("site_id", "name", name="uq_apps_site_id_name"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_apps_owner_id", "apps", ["owner_id"], unique=False)

    op.create_table(
        "batch_jobs",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.Column("scheduler_id", sa.BigInteger(), nullable=True),
        sa.Column("scheduler_id_text", sa.Text(), nullable=True),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("num_nodes", sa.Integer(), nullable=False),
        sa.Column("wall_time_min", sa.Integer(), nullable=False),
        sa.Column("job_mode", sa.Text(), nullable=False),
        sa.Column("optional_params", JSON, nullable=False),
        sa.Column("filter_tags", JSON, nullable=False),
        sa.Column("partitions", JSON, nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("status_info", JSON, nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=True),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_batch_jobs_owner_id_scheduler_id", "batch_jobs", ["owner_id", "scheduler_id"], unique=False
    )
    op.create_index(
        "ix_batch_jobs_owner_id_start_time", "batch_jobs", ["owner_id", "start_time"], unique=False
    )
    op.create_index("ix_batch_jobs_site_id_state", "batch_jobs", ["site_id", "state"], unique=False)

    op.create_table(
        "sessions",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_job_id", sa.BigInteger(), nullable=True),
        sa.Column("fenced", sa.Boolean(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=True),
        sa.Column("num_nodes", sa.Integer(), nullable=True),
        sa.Column("heartbeat", sa.BigInteger(), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_sessions_batch_job_id", "sessions", ["batch_job_id"], unique=False)
    op.create_index(
        "ix_sessions_live",
        "sessions",
        ["heartbeat"],
        unique=False,
        sqlite_where=sa.text("ended IS NULL"),
        postgresql_where=sa.text("ended IS NULL"),
    )
    op.create_index("ix_sessions_site_id", "sessions", ["site_id", "batch_job_id", "heartbeat"], unique=False)
    op.create_index("ix_sessions_owner_id", "sessions", ["owner_id"], unique=False)

    op.create_table(
        "tokens",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=True),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=True),
        sa.Column("revoked", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind IN ('login', 'site')", name="ck_tokens_kind"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("token_hash", name="uq_tokens_token_hash"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tokens_owner_id", "tokens", ["owner_id"], unique=False)

    op.create_table(
        "batch_job_tags",
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("batch_job_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["batch_job_id"], ["batch_jobs.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("owner_id", "key", "value", "batch_job_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_batch_job_tags_batch_job_id", "batch_job_tags", ["batch_job_id"], unique=False)

    op.create_table(
        "jobs",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.Column("app_id", sa.BigInteger(), nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=True),
        sa.Column("batch_job_id", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_since", sa.BigInteger(), nullable=False),
        sa.Column("last_update", sa.BigInteger(), nullable=False),
        sa.Column("num_runs", sa.Integer(), server_default="0", nullable=False),
        sa.Column("workdir", sa.Text(), nullable=False),
        sa.Column("tags", JSON, nullable=False),
        sa.Column("parent_ids", JSON, nullable=False),
        sa.Column("serialized_parameters", sa.Text(), nullable=False),
        sa.Column("serialized_return_value", sa.Text(), server_default="", nullable=False),
        sa.Column("serialized_exception", sa.Text(), server_default="", nullable=False),
        sa.Column("parameters_json", JSON, nullable=True),
        sa.Column("serializer", JSON, nullable=True),
        sa.Column("data", JSON, nullable=False),
        sa.Column("return_code", sa.Integer(), nullable=True),
        sa.Column("num_nodes", sa.Integer(), nullable=False),
        sa.Column("ranks_per_node", sa.Integer(), nullable=False),
        sa.Column("threads_per_rank", sa.Integer(), nullable=False),
        sa.Column("threads_per_core", sa.Integer(), nullable=False),
        sa.Column("launch_params", JSON, nullable=False),
        sa.Column("gpus_per_rank", sa.Float(), nullable=False),
        sa.Column("mem_mb_per_rank", sa.Integer(), nullable=False),
        sa.Column("node_packing_count", sa.Integer(), nullable=False),
        sa.Column("wall_time_min", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("parents_must", sa.Text(), nullable=False),
        sa.Column("max_restarts", sa.Integer(), nullable=False),
        sa.Column("pending_file_cleanup", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["app_id"], ["apps.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_owner_id_id", "jobs", ["owner_id", "id"], unique=False)
    op.create_index("ix_jobs_app_id", "jobs", ["app_id"], unique=False)
    op.create_index("ix_jobs_batch_job_id", "jobs", ["batch_job_id"], unique=False)
    op.create_index("ix_jobs_owner_id_last_update", "jobs", ["owner_id", "last_update"], unique=False)
    op.create_index("ix_jobs_owner_id_state", "jobs", ["owner_id", "state"], unique=False)
    op.create_index("ix_jobs_session_id", "jobs", ["session_id"], unique=False)
    op.create_index("ix_jobs_site_id", "jobs", ["site_id"], unique=False)

    op.create_table(
        "events",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_job_id", sa.BigInteger(), nullable=True),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("entered", sa.BigInteger(), nullable=False),
        sa.Column("from_state", sa.Text(), nullable=False),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("data", JSON, nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_batch_job_id_timestamp", "events", ["batch_job_id", "timestamp"], unique=False)
    op.create_index("ix_events_owner_id_id", "events", ["owner_id", "id"], unique=False)
    op.create_index("ix_events_job_id", "events", ["job_id"], unique=False)
    op.create_index(
        "ix_events_owner_id_from_state",
        "events",
        ["owner_id", "from_state", "to_state", "timestamp"],
        unique=False,
    )
    op.create_index("ix_events_owner_id_timestamp", "events", ["owner_id", "timestamp", "id"], unique=False)
    op.create_index(
        "ix_events_owner_id_to_state_timestamp", "events", ["owner_id", "to_state", "timestamp"], unique=False
    )

    op.create_table(
        "job_parents",
        sa.Column("parent_id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("parent_id", "job_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_job_parents_job_id", "job_parents", ["job_id"], unique=False)

    op.create_table(
        "job_tags",
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("owner_id", "key", "value", "job_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_job_tags_job_id", "job_tags", ["job_id"], unique=False)

    op.create_table(
        "runs",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("batch_job_id", sa.BigInteger(), nullable=True),
        sa.Column("session_id", sa.BigInteger(), nullable=True),
        sa.Column("nodes", JSON, nullable=False),
        sa.Column("cpus", sa.Float(), nullable=True),
        sa.Column("gpus", sa.Float(), nullable=True),
        sa.Column("num_nodes", sa.Float(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("end", sa.BigInteger(), nullable=True),
        sa.Column("end_state", sa.Text(), nullable=True),
        sa.Column("return_code", sa.Integer(), nullable=True),
        sa.Column("signature", sa.Text(), nullable=True),
        sa.Column("start_event_id", sa.BigInteger(), nullable=False),
        sa.Column("end_event_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_runs_batch_job_id_attempt", "runs", ["batch_job_id", "attempt"], unique=False)
    op.create_index("ix_runs_job_id", "runs", ["job_id"], unique=False)
    op.create_index("ix_runs_owner_id_end", "runs", ["owner_id", "end"], unique=False)
    op.create_index("ix_runs_owner_id_start", "runs", ["owner_id", "start"], unique=False)
    op.create_index("ix_runs_start_event_id", "runs", ["start_event_id"], unique=False)

    op.create_table(
        "transfers",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("site_id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("local_path", sa.Text(), nullable=False),
        sa.Column("remote_path", sa.Text(), nullable=False),
        sa.Column("location_alias", sa.Text(), nullable=False),
        sa.Column("recursive", sa.Boolean(), nullable=False),
        sa.Column("required", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("transfer_info", JSON, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_transfers_job_id", "transfers", ["job_id"], unique=False)
    op.create_index("ix_transfers_owner_id", "transfers", ["owner_id"], unique=False)
    op.create_index("ix_transfers_site_id_state", "transfers", ["site_id", "state"], unique=False)
    op.create_index(
        "ix_jobs_acquire",
        "jobs",
        [
            "site_id",
            "state",
            sa.text("priority DESC"),
            sa.text("num_nodes DESC"),
            "node_packing_count",
            sa.text("wall_time_min DESC"),
            "id",
        ],
        sqlite_where=sa.text("session_id IS NULL"),
        postgresql_where=sa.text("session_id IS NULL"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE events ALTER xid SET DEFAULT pg_current_xact_id()::text::bigint")


def downgrade() -> None:
    op.drop_table("transfers")
    op.drop_table("runs")
    op.drop_table("job_tags")
    op.drop_table("job_parents")
    op.drop_table("events")
    op.drop_table("jobs")
    op.drop_table("batch_job_tags")
    op.drop_table("tokens")
    op.drop_table("sessions")
    op.drop_table("batch_jobs")
    op.drop_table("apps")
    op.drop_table("sites")
    op.drop_table("idempotency")
    op.drop_table("users")
    op.drop_table("meta")
