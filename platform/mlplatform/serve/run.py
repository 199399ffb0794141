"""The API server as a process: settings in, uvicorn running, everything closed on the way out."""

import uvicorn

from mlplatform.build import build
from mlplatform.cli.output import say
from mlplatform.serve.app import create_app
from mlplatform.serve.server import assemble
from mlplatform.settings import load_settings

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def run_server(host: str | None, port: int | None, as_json: bool) -> None:
    """Serve until SIGTERM or Ctrl-C; requests under way and queued records are finished."""
    settings = load_settings(host=host, port=port)
    server = assemble(build(settings))
    address = f"http://{settings.host}:{settings.port}"
    say({"address": address, "instance": server.parts.instance}, f"API server on {address}", as_json)
    if settings.host not in LOOPBACK:
        say({"warning": "no authentication"}, "bound beyond loopback without authentication", as_json)
    uvicorn.run(
        create_app(server),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=10,
    )
