"""Alembic's entry: runs migrations on the connection that Database.upgrade gives it."""

from alembic import context

from mlplatform.store import schema_probation, schema_serving, schema_watch

connection = context.config.attributes["connection"]
tables = (schema_watch.judged, schema_probation.probations, schema_serving.tunings)
declared = [table.metadata for table in tables]  # one and the same, all tables in it
context.configure(connection=connection, target_metadata=declared[0], render_as_batch=True)
context.run_migrations()
