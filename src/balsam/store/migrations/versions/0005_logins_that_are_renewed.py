"""Logins that are renewed, providers' users, browser logins, and how often somebody tried"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("tokens", sa.Column("login_id", sa.BigInteger(), nullable=True))
    op.create_table(
        "logins",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.BigInteger(), nullable=True),
        sa.Column("why_ended", sa.Text(), nullable=True),
        sa.CheckConstraint("method IN ('password', 'device', 'browser')", name="ck_logins_method"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_logins_owner_id", "logins", ["owner_id"])
    op.create_index("ix_logins_expires", "logins", ["expires"])
    op.create_table(
        "refresh_tokens",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("login_id", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["login_id"], ["logins.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    op.create_index("ix_refresh_tokens_login_id", "refresh_tokens", ["login_id"])
    op.create_index("ix_refresh_tokens_owner_id", "refresh_tokens", ["owner_id"])
    op.create_table(
        "identities",
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("issuer", "subject"),
    )
    op.create_index("ix_identities_owner_id", "identities", ["owner_id"])
    op.create_table(
        "login_requests",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=True),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("device_hash", sa.Text(), nullable=False),
        sa.Column("user_code", sa.Text(), nullable=False),
        sa.Column("renewable", sa.Boolean(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("browser_hash", sa.Text(), nullable=True),
        sa.Column("state_hash", sa.Text(), nullable=True),
        sa.Column("consent_hash", sa.Text(), nullable=True),
        sa.UniqueConstraint("device_hash", name="uq_login_requests_device_hash"),
        sa.UniqueConstraint("user_code", name="uq_login_requests_user_code"),
        sa.UniqueConstraint("state_hash", name="uq_login_requests_state_hash"),
        sa.CheckConstraint("method IN ('device', 'browser')", name="ck_login_requests_method"),
        sa.CheckConstraint(
            "status IN ('waiting', 'asked', 'allowed', 'refused')", name="ck_login_requests_status"
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_login_requests_expires", "login_requests", ["expires"])
    op.create_index("ix_login_requests_owner_id", "login_requests", ["owner_id"])
    op.create_table(
        "login_attempts",
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("empty_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("bucket"),
    )
    op.create_index("ix_login_attempts_empty_at", "login_attempts", ["empty_at"])


def downgrade() -> None:
    for table in ("login_attempts", "login_requests", "identities", "refresh_tokens", "logins"):
        op.drop_table(table)
    op.drop_column("tokens", "login_id")
