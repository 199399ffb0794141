"""Alembic's entry: runs migrations on the connection that Database.upgrade gives it."""

from alembic import context

from mlplatform.store import schema_feedback, schema_probation, schema_watch

connection = context.config.attributes["connection"]
tables = (schema_watch.judged, schema_probation.probations, schema_feedback.feedback_keys)  # all of one metadata
context.configure(connection=connection, target_metadata=tables[0].metadata, render_as_batch=True)
context.run_migrations()
