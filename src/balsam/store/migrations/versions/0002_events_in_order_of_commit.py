"""Events carry their transaction on PostgreSQL, so that a stream skips none that commits late"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return  # one writer: ids rise in the order of commits
    op.alter_column("events", "xid", server_default=sa.text("(pg_current_xact_id()::text)::bigint"))
    op.create_index(
        "ix_events_owner_id_xid",
        "events",
        ["owner_id", "xid", "id"],
        postgresql_where=sa.text("xid IS NOT NULL"),
    )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    op.drop_index("ix_events_owner_id_xid", "events")
    op.alter_column("events", "xid", server_default=None)
