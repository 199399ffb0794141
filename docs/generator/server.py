"""An API server built to be described: its OpenAPI document, its pages and its metrics; it never listens."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from starlette.routing import Route

from generator.markdown import first_line
from mlplatform.context import AppContext
from mlplatform.serve.api_server import build_server
from mlplatform.serve.app import create_app
from mlplatform.settings import Settings

_INTERACTIVE = {"/docs": "This reference, to try in a browser.", "/redoc": "This reference on one page."}
_INTERNAL = {"/openapi.json", "/docs/oauth2-redirect"}


@dataclass(frozen=True)
class ServerDescription:
    """What a server says of itself: its OpenAPI document, its pages for people, its Prometheus registry."""

    openapi: dict[str, Any]
    pages: tuple[tuple[str, str, str], ...]
    registry: CollectorRegistry


def describe_server() -> ServerDescription:
    """Build a server in an empty folder and ask it; it never listens."""
    environment = dict(os.environ)
    for name in environment:
        if name.startswith(("PLATFORM_", "OTEL_")):
            del os.environ[name]
    try:
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(_env_file=None, home=Path(folder), auth="on")
            context = AppContext(settings=settings, serves_requests=True)
            server = build_server(context, environ={})
            app = create_app(server)
            openapi = app.openapi()
            pages = tuple(
                (verb, route.path, _INTERACTIVE.get(route.path) or first_line(route.endpoint.__doc__))
                for route in app.routes
                if isinstance(route, Route) and not route.include_in_schema
                for verb in sorted(route.methods or ())
                if verb != "HEAD" and route.path not in _INTERNAL
            )
            context.database.close()
            return ServerDescription(openapi, pages, server.metrics._registry)
    finally:
        os.environ.update(environment)
