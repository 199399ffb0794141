"""Runs the API server as a process: uvicorn around the app, with bounds on connections and a graceful shutdown."""

import gc
import sys
from contextlib import suppress
from functools import partial
from typing import Final

import uvicorn

from mlplatform.access_settings import LOOPBACK_HOSTS
from mlplatform.alerting.links import http_url
from mlplatform.context import create_context
from mlplatform.host.console import echo
from mlplatform.host.file_permissions import check_spool_owner
from mlplatform.recording.process_writer import ProcessWriter
from mlplatform.serve.api_server import ApiServer, build_server
from mlplatform.serve.app import create_app
from mlplatform.serve.http1.connection_limits import ConnectionTable, limits_from_settings
from mlplatform.serve.http1.graceful_shutdown import GracefulServer
from mlplatform.serve.http1.http_protocol import HttpConnection
from mlplatform.serve.inference.heatmaps import ProcessHeatmapRenderer
from mlplatform.settings import Settings, load_settings

LISTEN_BACKLOG: Final = 512
"""Connections that the system keeps while the event loop is busy."""
THREAD_SWITCH_SECONDS: Final = 0.001
"""How long a thread may go on while another waits for its turn: a fifth of Python's own default, because the event
loop and the workers wait like that for pages and labels, which have threads of their own."""
EXIT_NOT_STARTED: Final = 3
"""How the process ends where it could not begin to listen, as uvicorn's own command does."""


def run_server(host: str | None, port: int | None, as_json: bool) -> None:
    """Serve until SIGTERM or Ctrl-C; requests under way and queued records are finished."""
    settings = load_settings(host=host, port=port)
    server = build_process_server(settings)
    message, text = startup_message(settings)
    echo(message | {"instance": server.context.instance}, text, as_json)
    serve(server, settings.host, settings.port)


def build_process_server(settings: Settings) -> ApiServer:
    """A server as `platform serve` runs it."""
    context = create_context(settings, serves_requests=True)
    check_spool_owner(settings)
    writer = ProcessWriter(settings.store_url, patience=context.timeouts) if settings.recorder == "process" else None
    return build_server(context, writer=writer, heatmap_renderer=ProcessHeatmapRenderer())


def startup_message(settings: Settings) -> tuple[dict[str, str], str]:
    """What is said at the start, for programs and for people: the address, who is let in, and a warning if anybody."""
    address = http_url(settings.host, settings.port)
    if settings.requires_keys:
        people = f" and people who sign in at {settings.oidc_issuer}" if settings.oidc_issuer else ""
        text = f"API server on {address}, for API keys (`platform keys create`){people}"
        return {"address": address, "auth": "on"}, text
    if settings.host in LOOPBACK_HOSTS:
        return {"address": address, "auth": "off"}, f"API server on {address}"
    warning = "WARNING: bound beyond loopback without authentication (PLATFORM_AUTH=off): anybody may use everything"
    return {"address": address, "auth": "off", "warning": warning}, f"API server on {address}\n{warning}"


def build_http_server(server: ApiServer, host: str, port: int) -> GracefulServer:
    """Uvicorn around the server's app, with the bounds and the end that its settings say."""
    settings = server.context.settings
    refused = server.metrics.requests
    connections = ConnectionTable(
        limits_from_settings(settings), lambda status: refused.labels("refused", str(status)).inc()
    )
    config = uvicorn.Config(
        create_app(server),
        host=host,
        port=port,
        http=partial(HttpConnection, connections),  # type: ignore[arg-type]  # it is called as a class would be
        ws="none",
        log_config=None,
        access_log=False,
        backlog=LISTEN_BACKLOG,
    )
    return GracefulServer(
        config, connections, shutdown_state=server.shutdown_state, drain_seconds=settings.drain_seconds
    )


def serve(server: ApiServer, host: str, port: int) -> None:
    """Answer until SIGTERM or Ctrl-C.

    Whatever lives when a model is swapped in (libraries, mostly) is kept out of the garbage collector's rounds from
    then on: looking at it again and again would stop all answers for a tenth of a second each time.
    """
    server.reloader.on_swap = gc.freeze
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    running = build_http_server(server, host, port)
    with suppress(KeyboardInterrupt):
        running.run()
    running.mark_closed()
    if not running.started:
        raise SystemExit(EXIT_NOT_STARTED)
