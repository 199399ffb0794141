"""Creates the HTTP app of an API server: its routers, and its middlewares in order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute

from mlplatform.auth.form_tokens import FormTokens
from mlplatform.serve.api_server import ApiServer
from mlplatform.serve.middleware.auth_middleware import AuthMiddleware
from mlplatform.serve.middleware.body_limit import BodyLimitMiddleware
from mlplatform.serve.middleware.error_pages import ErrorPageMiddleware
from mlplatform.serve.middleware.fast_route import FastRouteMiddleware
from mlplatform.serve.middleware.metrics_middleware import MetricsMiddleware
from mlplatform.serve.middleware.path_prefix import RestorePrefixMiddleware, StripPrefixMiddleware
from mlplatform.serve.middleware.security import auth_policy, cors_options, document_security
from mlplatform.serve.middleware.security_headers import SecurityHeadersMiddleware
from mlplatform.serve.openapi_examples import show_examples
from mlplatform.serve.problem_details import add_error_handlers
from mlplatform.serve.protocols.kserve_v2 import V2Models, v2_infer_router, v2_metadata_router
from mlplatform.serve.protocols.mlflow_scoring import mlflow_router
from mlplatform.serve.routes.account import account_router
from mlplatform.serve.routes.audit import audit_router
from mlplatform.serve.routes.evaluations import evaluations_router
from mlplatform.serve.routes.feedback import feedback_router
from mlplatform.serve.routes.feedback_service import FeedbackService
from mlplatform.serve.routes.health import health_router
from mlplatform.serve.routes.history import history_router
from mlplatform.serve.routes.label_studio import label_studio_router
from mlplatform.serve.routes.models import approval_router, models_router, rollout_router
from mlplatform.serve.routes.pages import assets_router, overview_router, pages_router
from mlplatform.serve.routes.predictions import predict_router, recorded_predictions_router
from mlplatform.serve.routes.retraining_pages import retraining_pages_router
from mlplatform.serve.routes.retrainings import retraining_router
from mlplatform.serve.routes.review import review_router
from mlplatform.serve.routes.rules import rules_router
from mlplatform.serve.routes.versions import version_forms_router, versions_router
from mlplatform.serve.session_cookies import session_cookies
from mlplatform.web.rule_forecasts import RuleForecasts

DESCRIPTION = "Predictions, labelled feedback by prediction id, retraining and the models behind them."


def create_app(server: ApiServer) -> FastAPI:
    """The app of one server; starting it starts the server's parts, stopping it closes them."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        server.start()
        yield
        server.close()

    predict = predict_router(server.prediction_service)
    routers = (predict, *_routers(server))
    app: FastAPI = FastAPIOffline(
        title="mlplatform",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        routes=[route for router in routers for route in router.routes],  # `include_router` matches each request twice
        middleware=_middlewares(server, predict.routes[0]),
        telemetry={"tracing": False, "metrics": False, "logs": False},  # ours times the stages of a prediction
    )
    add_error_handlers(app)
    show_examples(app)
    if server.context.settings.requires_keys:
        document_security(app)
    return app


def _middlewares(server: ApiServer, predict_route: BaseRoute) -> list[Middleware]:
    """What a request passes on its way to a route, the outermost first."""
    settings = server.context.settings
    prefix = settings.root_path
    policy = auth_policy(
        settings,
        server.api_key_cache,
        None if server.sign_in is None else server.sign_in.sessions,
        server.context.clock,
        lambda status: server.metrics.requests.labels("refused", str(status)).inc(),
    )
    max_body_bytes = int(settings.max_body_mb * 2**20)
    return [
        *([Middleware(StripPrefixMiddleware, prefix=prefix)] if prefix else []),
        Middleware(SecurityHeadersMiddleware),
        Middleware(ErrorPageMiddleware),
        *([Middleware(CORSMiddleware, **cors_options(settings))] if settings.cors_origins else []),
        Middleware(AuthMiddleware, policy=policy),
        Middleware(MetricsMiddleware, metrics=server.metrics, requests=server.request_counts),
        Middleware(BodyLimitMiddleware, max_bytes=max_body_bytes),
        Middleware(FastRouteMiddleware, route=predict_route),
        *([Middleware(RestorePrefixMiddleware, prefix=prefix)] if prefix else []),
    ]


def _routers(server: ApiServer) -> tuple[APIRouter, ...]:
    """Every route but that of POST /v1/predict."""
    context, pool = server.context, server.thread_pool
    threaded, slow_page = server.route_limiter.route_class(), server.slow_page_limiter.route_class()
    v2_models = V2Models(context.model_name, server.model_slot, server.rollout_router)
    form_tokens = FormTokens(lambda: context.database, context.clock)
    forecasts = RuleForecasts(context)
    feedback_service = FeedbackService(context, server.recorder, server.metrics)
    return (
        recorded_predictions_router(
            context,
            server.recorder,
            server.explanation_service,
            server.explanation_limiter,
            server.route_limiter,
            pool,
        ),
        v2_metadata_router(v2_models, server.is_ready),
        v2_infer_router(server.prediction_service, v2_models),
        mlflow_router(server.prediction_service, server.is_ready),
        feedback_router(context, feedback_service, server.metrics, pool, threaded),
        label_studio_router(context, pool, threaded),
        retraining_router(context, pool, threaded),
        models_router(context, slow_page),
        history_router(context, threaded),
        evaluations_router(context, threaded),
        approval_router(context, pool, threaded),
        rollout_router(context, pool, threaded),
        health_router(
            server.model_slot, server.reloader, server.recorder, server.shutdown_state, server.metrics.exposition
        ),
        overview_router(context, slow_page),
        pages_router(context, form_tokens, forecasts, threaded),
        review_router(context, form_tokens, threaded),
        versions_router(context, form_tokens, slow_page),
        version_forms_router(context, form_tokens, slow_page),
        retraining_pages_router(context, form_tokens, slow_page),
        rules_router(context, form_tokens, forecasts, slow_page),
        audit_router(context, threaded),
        account_router(form_tokens, threaded, asks_who=context.settings.requires_keys),
        *_sign_in_routers(server, form_tokens, threaded),
        assets_router(),
    )


def _sign_in_routers(server: ApiServer, form_tokens: FormTokens, threaded: type[APIRoute]) -> tuple[APIRouter, ...]:
    """The routes to sign in, where the settings name a provider; their libraries are loaded for nobody else."""
    if server.sign_in is None:
        return ()
    from mlplatform.serve.routes.sign_in import session_router, sign_in_router

    cookies, limiter = session_cookies(server.context.settings), server.sign_in_limiter
    return (
        sign_in_router(server.sign_in, cookies, limiter.route_class()),
        session_router(server.sign_in, cookies, form_tokens, server.api_key_cache, threaded),
    )
