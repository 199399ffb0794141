"""Alembic's entry: runs migrations on the connection that Database.upgrade gives it."""

from alembic import context

from mlplatform.store.schema_watch import judged

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=judged.metadata, render_as_batch=True)
context.run_migrations()
