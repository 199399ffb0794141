"""Alembic's entry: runs migrations on the connection that Database.upgrade gives it."""

from alembic import context

from mlplatform.store.tables import auth, feedback, monitoring, promotion, rollout, serving

connection = context.config.attributes["connection"]
tables = (
    monitoring.outcomes,
    promotion.probations,
    auth.api_keys,
    feedback.feedback_idempotency_keys,
    rollout.rollouts,
    serving.compute_configs,
)
[one] = {table.metadata for table in tables}  # every module's tables are in it
context.configure(connection=connection, target_metadata=one, render_as_batch=True)
context.run_migrations()
