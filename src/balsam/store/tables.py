"""All tables. Times are microseconds since 1970 UTC; tags and parents stand twice:

once as JSON in the row that is read, once in a table of their own that filters use, so that no filter reads
JSON text row by row. `store.jobs.insert_many` and `store.jobs.set_tags` write both.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    FetchedValue,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

# SQLite only gives AUTOINCREMENT (ids that are never used again) to a column typed INTEGER.
BigId = BigInteger().with_variant(Integer, "sqlite")
Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


# Conditions of partial indexes. A statement that is to use one repeats it, since SQLite proves nothing.
ACQUIRABLE = "state NOT IN ('CREATED', 'AWAITING_PARENTS', 'RUNNING', 'JOB_FINISHED', 'FAILED')"
RARE_MOVES = (
    "from_state NOT IN ('CREATED', 'STAGED_IN', 'PREPROCESSED', 'RUNNING', 'RUN_DONE', 'POSTPROCESSED')"
)
UNSENT = "ended IS NULL"


def _partial_index(name: str, *columns: Any, where: str) -> Index:
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


def _id() -> Column[int]:
    return Column("id", BigId, primary_key=True, autoincrement=True)


def _owner() -> Column[int]:
    return Column("owner_id", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), nullable=False)


def _site() -> Column[int]:
    return Column("site_id", BigInteger, ForeignKey("sites.id", ondelete="CASCADE"), nullable=False)


def _job() -> Column[int]:
    return Column("job_id", BigInteger, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False)


meta = Table("meta", metadata, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

users = Table(
    "users",
    metadata,
    _id(),
    Column("username", Text, nullable=False),
    Column("password_hash", Text),
    Column("created", BigInteger, nullable=False),
    UniqueConstraint("username", name="uq_users_username"),
    sqlite_autoincrement=True,
)

tokens = Table(
    "tokens",
    metadata,
    _id(),
    _owner(),
    Column("kind", Text, nullable=False),
    Column("site_id", BigInteger, ForeignKey("sites.id", ondelete="CASCADE")),
    Column("token_hash", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger),
    Column("revoked", BigInteger),
    # No foreign key, which SQLite can't add to a table; logins outlive their tokens.
    Column("login_id", BigInteger),
    UniqueConstraint("token_hash", name="uq_tokens_token_hash"),
    CheckConstraint("kind IN ('login', 'site')", name="ck_tokens_kind"),
    Index("ix_tokens_owner_id", "owner_id"),
    sqlite_autoincrement=True,
)

# One row for each time that a user logged in, until it has expired.
logins = Table(
    "logins",
    metadata,
    _id(),
    _owner(),
    Column("method", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("used", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("ended", BigInteger),
    Column("why_ended", Text),
    CheckConstraint("method IN ('password', 'device', 'browser')", name="ck_logins_method"),
    Index("ix_logins_owner_id", "owner_id"),
    Index("ix_logins_expires", "expires"),
    sqlite_autoincrement=True,
)

# Used ones are kept as long as their login: whoever brings one again after its time gives a theft away.
refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("token_hash", Text, primary_key=True),
    _owner(),
    Column("login_id", BigInteger, ForeignKey("logins.id", ondelete="CASCADE"), nullable=False),
    Column("used", BigInteger),
    Index("ix_refresh_tokens_login_id", "login_id"),
    Index("ix_refresh_tokens_owner_id", "owner_id"),
)

# Who a login provider's users are here.
identities = Table(
    "identities",
    metadata,
    _owner(),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    PrimaryKeyConstraint("issuer", "subject"),
    Index("ix_identities_owner_id", "owner_id"),
)

# Programs that wait until somebody logs them in with a browser; nobody's until then. Texts that open
# something are kept as digests.
login_requests = Table(
    "login_requests",
    metadata,
    _id(),
    Column("owner_id", BigInteger, ForeignKey("users.id", ondelete="CASCADE")),
    Column("method", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("device_hash", Text, nullable=False),
    Column("user_code", Text, nullable=False),
    Column("renewable", Boolean, nullable=False),
    Column("address", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("browser_hash", Text),
    Column("state_hash", Text),
    Column("consent_hash", Text),
    UniqueConstraint("device_hash", name="uq_login_requests_device_hash"),
    UniqueConstraint("user_code", name="uq_login_requests_user_code"),
    UniqueConstraint("state_hash", name="uq_login_requests_state_hash"),
    CheckConstraint("method IN ('device', 'browser')", name="ck_login_requests_method"),
    CheckConstraint("status IN ('waiting', 'asked', 'allowed', 'refused')", name="ck_login_requests_status"),
    Index("ix_login_requests_expires", "expires"),
    Index("ix_login_requests_owner_id", "owner_id"),
    sqlite_autoincrement=True,
)

# Buckets that leak: an attempt pushes `empty_at` into the future, and past a limit there are no more.
login_attempts = Table(
    "login_attempts",
    metadata,
    Column("bucket", Text, primary_key=True),
    Column("empty_at", BigInteger, nullable=False),
    Index("ix_login_attempts_empty_at", "empty_at"),
)

sites = Table(
    "sites",
    metadata,
    _id(),
    _owner(),
    Column("name", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("globus_endpoint_id", Text),
    Column("backfill_windows", Json, nullable=False),
    Column("queued_jobs", Json, nullable=False),
    Column("optional_batch_job_params", Json, nullable=False),
    Column("allowed_projects", Json, nullable=False),
    Column("allowed_queues", Json, nullable=False),
    Column("transfer_locations", Json, nullable=False),
    Column("nodes", Json),  # kinds of nodes, as the agent tells them
    Column("agent_seen", BigInteger),  # when somebody with a token of the site last told of it
    Column("agent", Json),  # which agent holds the site, since when: see logic.site_agents
    Column("moves_files", Boolean),  # whether its agent stages files in and out; None: it has not told
    Column("last_refresh", BigInteger, nullable=False),
    Column("creation_date", BigInteger, nullable=False),
    UniqueConstraint("owner_id", "name", name="uq_sites_owner_id_name"),
    sqlite_autoincrement=True,
)

apps = Table(
    "apps",
    metadata,
    _id(),
    _owner(),
    _site(),
    Column("name", Text, nullable=False),
    Column("serialized_class", Text, nullable=False),
    Column("source_code", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("parameters", Json, nullable=False),
    Column("transfers", Json, nullable=False),
    Column("hooks", Json),
    Column("isolate", Boolean, nullable=False),
    Column("serializer", Json),
    Column("version", Integer, nullable=False, server_default="1"),  # the newest of app_versions
    Column("digest", Text, nullable=False, server_default=""),  # of the code; empty: nobody told it
    UniqueConstraint("site_id", "name", name="uq_apps_site_id_name"),
    Index("ix_apps_owner_id", "owner_id"),
    sqlite_autoincrement=True,
)

# One row for each sync that changed an app. `parts`: digests of the functions and values that make the code,
# by name, so that two versions whose source texts are the same can be told apart.
app_versions = Table(
    "app_versions",
    metadata,
    Column("app_id", BigInteger, ForeignKey("apps.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    _owner(),
    Column("digest", Text, nullable=False),
    Column("created", BigInteger),
    Column("synced_by", Text),
    Column("source_code", Text, nullable=False),
    Column("parts", Json),
    PrimaryKeyConstraint("app_id", "number"),
    Index("ix_app_versions_owner_id", "owner_id"),
)

jobs = Table(
    "jobs",
    metadata,
    _id(),
    _owner(),
    _site(),
    Column("app_id", BigInteger, ForeignKey("apps.id", ondelete="CASCADE"), nullable=False),
    Column("session_id", BigInteger),
    Column("batch_job_id", BigInteger),
    Column("state", Text, nullable=False),
    Column("state_since", BigInteger, nullable=False),
    Column("last_update", BigInteger, nullable=False),
    Column("num_runs", Integer, nullable=False, server_default="0"),
    Column("workdir", Text, nullable=False),
    Column("tags", Json, nullable=False),
    Column("parent_ids", Json, nullable=False),
    Column("serialized_parameters", Text, nullable=False),
    Column("serialized_return_value", Text, nullable=False, server_default=""),
    Column("serialized_exception", Text, nullable=False, server_default=""),
    Column("parameters_json", Json),
    Column("serializer", Json),
    Column("data", Json, nullable=False),
    Column("return_code", Integer),
    Column("num_nodes", Integer, nullable=False),
    Column("ranks_per_node", Integer, nullable=False),
    Column("threads_per_rank", Integer, nullable=False),
    Column("threads_per_core", Integer, nullable=False),
    Column("launch_params", Json, nullable=False),
    Column("gpus_per_rank", Float, nullable=False),
    Column("mem_mb_per_rank", Integer, nullable=False),
    Column("node_packing_count", Integer, nullable=False),
    Column("wall_time_min", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("parents_must", Text, nullable=False),
    Column("max_restarts", Integer, nullable=False),
    Column("pending_file_cleanup", Boolean, nullable=False),
    Column("killed_by", Text),  # who killed it, until its holder has ended it
    Column("launcher_deaths", Integer, nullable=False, server_default="0"),  # since its last move
    Index("ix_jobs_owner_id_id", "owner_id", "id"),
    Index("ix_jobs_owner_id_state", "owner_id", "state", "id"),
    Index("ix_jobs_owner_id_last_update", "owner_id", "last_update"),
    Index("ix_jobs_owner_id_site_id", "owner_id", "site_id", "id"),
    Index("ix_jobs_app_id", "app_id"),
    _partial_index("ix_jobs_batch_job_id", "batch_job_id", where="batch_job_id IS NOT NULL"),
    _partial_index("ix_jobs_session_id", "session_id", where="session_id IS NOT NULL"),
    # The order in which launchers take jobs, so that the first of a million is found at once.
    _partial_index(
        "ix_jobs_acquire",
        "site_id",
        "state",
        text("priority DESC"),
        "num_nodes",
        text("node_packing_count DESC"),
        text("wall_time_min DESC"),
        "id",
        where=f"session_id IS NULL AND {ACQUIRABLE}",
    ),
    sqlite_autoincrement=True,
)

job_tags = Table(
    "job_tags",
    metadata,
    _owner(),
    Column("key", Text, nullable=False),
    Column("value", Text, nullable=False),
    _job(),
    PrimaryKeyConstraint("owner_id", "key", "value", "job_id"),
    Index("ix_job_tags_job_id", "job_id"),
    sqlite_with_rowid=False,
)

job_parents = Table(
    "job_parents",
    metadata,
    # No foreign key: a deleted parent's id stays, and `why` tells that it is gone.
    Column("parent_id", BigInteger, nullable=False),
    _job(),
    PrimaryKeyConstraint("parent_id", "job_id"),
    Index("ix_job_parents_job_id", "job_id"),
    sqlite_with_rowid=False,
)

batch_jobs = Table(
    "batch_jobs",
    metadata,
    _id(),
    _owner(),
    _site(),
    Column("scheduler_id", BigInteger),
    Column("scheduler_id_text", Text),
    Column("project", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("num_nodes", Integer, nullable=False),
    Column("wall_time_min", Integer, nullable=False),
    Column("job_mode", Text, nullable=False),
    Column("optional_params", Json, nullable=False),
    Column("filter_tags", Json, nullable=False),
    Column("partitions", Json),
    Column("state", Text, nullable=False),
    Column("status_info", Json, nullable=False),
    Column("start_time", BigInteger),
    Column("end_time", BigInteger),
    Column("cause", Text),
    Column("created", BigInteger, nullable=False),
    Column("seen", BigInteger),  # when the agent last saw it running
    Column("submitting_by", Json),  # the agent that was to hand it to the batch system, and where that was
    Index("ix_batch_jobs_owner_id_start_time", "owner_id", "start_time"),
    Index("ix_batch_jobs_site_id_state", "site_id", "state"),
    Index("ix_batch_jobs_owner_id_scheduler_id", "owner_id", "scheduler_id"),
    sqlite_autoincrement=True,
)

batch_job_tags = Table(
    "batch_job_tags",
    metadata,
    _owner(),
    Column("key", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("batch_job_id", BigInteger, ForeignKey("batch_jobs.id", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("owner_id", "key", "value", "batch_job_id"),
    Index("ix_batch_job_tags_batch_job_id", "batch_job_id"),
    sqlite_with_rowid=False,
)

sessions = Table(
    "sessions",
    metadata,
    _id(),
    _owner(),
    _site(),
    Column("batch_job_id", BigInteger),
    Column("fenced", Boolean, nullable=False),
    Column("partition", Integer),
    Column("num_nodes", Integer),
    Column("heartbeat", BigInteger, nullable=False),
    Column("started", BigInteger, nullable=False),
    Column("ended", BigInteger),
    Column("takes", Json),  # a launcher's: kinds of its nodes, and the tags of the jobs that it takes
    Column("busy", Json),  # an agent's: the hooks that run, as of its last heartbeat
    Column("ending", Json),  # a launcher's: why it ended, and what waited then
    Column("trouble", Text),  # a launcher's: which of its nodes start nothing for the moment, and why
    Column("clock_ahead_us", BigInteger),  # of its host's clock, where that is worth telling
    Index("ix_sessions_owner_id", "owner_id"),
    Index("ix_sessions_site_id", "site_id", "batch_job_id", "heartbeat"),
    Index("ix_sessions_batch_job_id", "batch_job_id"),
    _partial_index("ix_sessions_live", "heartbeat", where="ended IS NULL"),
    sqlite_autoincrement=True,
)

transfers = Table(
    "transfers",
    metadata,
    _id(),
    _owner(),
    _site(),
    _job(),
    Column("direction", Text, nullable=False),
    Column("local_path", Text, nullable=False),
    Column("remote_path", Text, nullable=False),
    Column("location_alias", Text, nullable=False),
    Column("recursive", Boolean, nullable=False),
    Column("required", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("task_id", Text, nullable=False),
    Column("transfer_info", Json, nullable=False),
    Index("ix_transfers_job_id", "job_id"),
    Index("ix_transfers_site_id_state", "site_id", "state"),
    Index("ix_transfers_owner_id", "owner_id"),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    _id(),
    _owner(),
    _site(),
    _job(),
    Column("batch_job_id", BigInteger),
    Column("timestamp", BigInteger, nullable=False),  # the maker's clock
    Column("received", BigInteger, nullable=False),  # the server's clock
    Column("entered", BigInteger, nullable=False),  # when from_state was entered
    Column("from_state", Text, nullable=False),
    Column("to_state", Text, nullable=False),
    Column("data", Json, nullable=False),
    # PostgreSQL: the transaction, for a stream that skips no late commit.
    Column("xid", BigInteger, FetchedValue()),
    Index("ix_events_owner_id_id", "owner_id", "id").ddl_if(dialect="sqlite"),
    Index("ix_events_job_id", "job_id"),
    Index("ix_events_owner_id_timestamp", "owner_id", "timestamp", "id"),
    Index("ix_events_owner_id_to_state_timestamp", "owner_id", "to_state", "timestamp"),
    Index("ix_events_site_id_timestamp", "site_id", "timestamp"),
    _partial_index("ix_events_owner_id_from_state", "owner_id", "from_state", "timestamp", where=RARE_MOVES),
    _partial_index(
        "ix_events_batch_job_id_timestamp", "batch_job_id", "timestamp", where="batch_job_id IS NOT NULL"
    ),
    Index("ix_events_owner_id_xid", "owner_id", "xid", "id", postgresql_where=text("xid IS NOT NULL")).ddl_if(
        dialect="postgresql"
    ),
    sqlite_autoincrement=True,
)

runs = Table(
    "runs",
    metadata,
    _id(),
    _owner(),
    _site(),
    _job(),
    Column("attempt", Integer, nullable=False),
    Column("app_version", Integer),  # None: its launcher did not tell
    Column("batch_job_id", BigInteger),
    Column("session_id", BigInteger),
    Column("nodes", Json, nullable=False),
    Column("cpus", Float),
    Column("gpus", Float),
    Column("num_nodes", Float, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("end", BigInteger),
    Column("end_state", Text),
    Column("return_code", Integer),
    Column("signature", Text),
    Column("start_event_id", BigInteger, nullable=False),
    Column("end_event_id", BigInteger),
    Index("ix_runs_job_id", "job_id"),
    Index("ix_runs_owner_id_start", "owner_id", "start"),
    Index("ix_runs_batch_job_id_attempt", "batch_job_id", "attempt"),
    Index("ix_runs_start_event_id", "start_event_id"),
    sqlite_autoincrement=True,
)

# What is left of jobs that were pruned: how many ended in each state, entered it, and ran until it, and the
# node-hours of these runs, by day (number since 1970, UTC). No key of apps: they may be gone.
totals = Table(
    "totals",
    metadata,
    _owner(),
    _site(),
    Column("app_id", BigInteger, nullable=False),
    Column("day", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("jobs", BigInteger, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("runs", BigInteger, nullable=False),
    Column("node_hours", Float, nullable=False),
    PrimaryKeyConstraint("owner_id", "site_id", "app_id", "day", "state"),
    Index("ix_totals_site_id", "site_id"),
)

# What a session is asked to do, and what it answered; swept an hour after the deadline.
messages = Table(
    "messages",
    metadata,
    _id(),
    _owner(),
    _site(),
    Column("session_id", BigInteger, nullable=False),
    Column("job_id", BigInteger),
    Column("kind", Text, nullable=False),
    Column("body", Json, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("deadline", BigInteger, nullable=False),
    Column("answered", BigInteger),
    Column("answer", Json),
    CheckConstraint("kind IN ('kill', 'tail', 'drain')", name="ck_messages_kind"),
    Index("ix_messages_owner_id", "owner_id"),
    Index("ix_messages_session_id", "session_id"),
    Index("ix_messages_deadline", "deadline"),
    sqlite_autoincrement=True,
)

# What users want to be told of. `due`: when it is looked at next.
alert_rules = Table(
    "alert_rules",
    metadata,
    _id(),
    _owner(),
    Column("kind", Text, nullable=False),
    Column("site_ids", Json),
    Column("tags", Json, nullable=False),
    Column("minutes", Float, nullable=False),
    Column("threshold", Float),
    Column("min_jobs", Integer, nullable=False),
    Column("remind_hours", Float, nullable=False),
    Column("channel", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("secret", Text),  # signs messages, so that it is kept as it is
    Column("created", BigInteger, nullable=False),
    Column("due", BigInteger, nullable=False),
    Column("error", Text),
    Column("error_at", BigInteger),
    Column("sent_at", BigInteger),
    CheckConstraint(
        "kind IN ('failure_rate', 'stalled_backlog', 'idle_allocation', 'site_down')",
        name="ck_alert_rules_kind",
    ),
    CheckConstraint("channel IN ('webhook', 'mail')", name="ck_alert_rules_channel"),
    Index("ix_alert_rules_owner_id", "owner_id", "id"),
    Index("ix_alert_rules_due", "due"),
    sqlite_autoincrement=True,
)

# What is the matter with one subject of a rule; fires where `firing_since` is set.
alerts = Table(
    "alerts",
    metadata,
    _owner(),
    Column("rule_id", BigInteger, ForeignKey("alert_rules.id", ondelete="CASCADE"), nullable=False),
    Column("subject", BigInteger, nullable=False),  # a site's or BatchJob's id, or 0
    Column("bad_since", BigInteger),
    Column("firing_since", BigInteger),
    Column("well_since", BigInteger),
    Column("told", BigInteger),
    Column("sentence", Text, nullable=False),
    PrimaryKeyConstraint("rule_id", "subject"),
    Index("ix_alerts_owner_id", "owner_id"),
)

# The outbox: written with the change that it tells of, kept for a while after its end.
alert_deliveries = Table(
    "alert_deliveries",
    metadata,
    _id(),
    _owner(),
    Column("rule_id", BigInteger, ForeignKey("alert_rules.id", ondelete="CASCADE"), nullable=False),
    Column("key", Text, nullable=False),  # by which receivers know it again
    Column("event", Text, nullable=False),
    Column("body", Json, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_try", BigInteger, nullable=False),
    Column("ended", BigInteger),
    Column("error", Text),
    CheckConstraint("event IN ('began', 'over', 'reminder', 'test')", name="ck_alert_deliveries_event"),
    Index("ix_alert_deliveries_owner_id", "owner_id"),
    Index("ix_alert_deliveries_created", "created"),
    _partial_index("ix_alert_deliveries_unsent", "rule_id", "id", where=UNSENT),
    _partial_index("ix_alert_deliveries_next_try", "next_try", where=UNSENT),
    sqlite_autoincrement=True,
)

idempotency = Table(
    "idempotency",
    metadata,
    _owner(),
    Column("key", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("answer", Json, nullable=False),
    Column("created", BigInteger, nullable=False),
    PrimaryKeyConstraint("owner_id", "key"),
    Index("ix_idempotency_created", "created"),
)
