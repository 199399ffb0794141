"""Alembic's entry: runs migrations on the connection that Database.upgrade gives it."""

from alembic import context

from mlplatform.store import schema_doors, schema_feedback, schema_probation, schema_serving, schema_trial, schema_watch

connection = context.config.attributes["connection"]
tables = (
    schema_watch.judged,
    schema_probation.probations,
    schema_doors.api_keys,
    schema_feedback.feedback_keys,
    schema_trial.trials,
    schema_serving.tunings,
)
[one] = {table.metadata for table in tables}  # every module's tables are in it
context.configure(connection=connection, target_metadata=one, render_as_batch=True)
context.run_migrations()
