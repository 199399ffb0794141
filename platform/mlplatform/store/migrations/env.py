"""Alembic's entry: runs migrations on the connection that Database.upgrade gives it."""

from alembic import context

from mlplatform.store import schema_probation, schema_trial, schema_watch

connection = context.config.attributes["connection"]
declared = (  # one and the same, all tables in it
    schema_watch.judged.metadata,
    schema_probation.probations.metadata,
    schema_trial.trials.metadata,
)
context.configure(connection=connection, target_metadata=declared[0], render_as_batch=True)
context.run_migrations()
