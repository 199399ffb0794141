"""Holds what a request names by its id against the models that its caller's scopes are limited to.

Whoever is limited to no model costs no query.
"""

from collections.abc import Callable

from fastapi import Request
from sqlalchemy import Connection

from mlplatform.alerting import alert_records, evaluations
from mlplatform.auth.caller import Caller, caller_of
from mlplatform.context import AppContext
from mlplatform.predictions import prediction_records
from mlplatform.retraining import retraining_queue


def check_alert(context: AppContext, request: Request, alert_id: str) -> None:
    """Raise ForbiddenError for an alert of another model than the caller's, NotFoundError for an unknown one."""
    _check(context, request, f"alert {alert_id}", lambda connection: alert_records.find(connection, alert_id).model)


def check_prediction(context: AppContext, request: Request, prediction_id: str) -> None:
    """Raise ForbiddenError for a prediction of another model, NotFoundError for one that is not recorded."""
    _check(
        context,
        request,
        f"prediction {prediction_id}",
        lambda connection: prediction_records.find(connection, prediction_id).model_name,
    )


def check_evaluation(context: AppContext, request: Request, evaluation_id: str) -> None:
    """Raise ForbiddenError for an evaluation of another model, NotFoundError for an unknown one."""
    _check(
        context,
        request,
        f"evaluation {evaluation_id}",
        lambda connection: evaluations.find(connection, evaluation_id).model_name,
    )


def check_retraining(context: AppContext, request: Request, retraining_id: str) -> None:
    """Raise ForbiddenError for a retraining of another model, NotFoundError for an unknown one."""
    _check(
        context,
        request,
        f"retraining {retraining_id}",
        lambda connection: retraining_queue.find(connection, retraining_id).pipeline,
    )


def _check(context: AppContext, request: Request, subject: str, model_of: Callable[[Connection], str]) -> None:
    caller: Caller = caller_of(request)
    if caller.models is None:
        return
    with context.database.read() as connection:
        model = model_of(connection)
    caller.check_model(model, subject)
