"""Alembic's entry: runs migrations on the connection that Database.upgrade gives it."""

from alembic import context

from mlplatform.store.tables import (
    alerting,
    audit,
    auth,
    coordination,
    feedback,
    predictions,
    promotion,
    retraining,
)

connection = context.config.attributes["connection"]
tables = (
    coordination.leases,
    audit.audit_log,
    auth.api_keys,
    predictions.predictions,
    feedback.outcomes,
    alerting.alerts,
    promotion.promotions,
    retraining.retrainings,
)
[metadata] = {table.metadata for table in tables}  # every module's tables are in it
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
context.run_migrations()
