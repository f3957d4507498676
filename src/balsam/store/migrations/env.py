"""Alembic runs this with the connection that `store.migrate` put into its configuration."""

from alembic import context

from balsam.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
