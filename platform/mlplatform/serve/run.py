"""The API server as a process: settings in, uvicorn running, everything closed on the way out."""

import uvicorn

from mlplatform.build import build
from mlplatform.cli.output import say
from mlplatform.serve.app import create_app
from mlplatform.serve.server import Server, assemble
from mlplatform.settings import load_settings

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def run_server(host: str | None, port: int | None, as_json: bool) -> None:
    """Serve until SIGTERM or Ctrl-C; requests under way and queued records are finished."""
    settings = load_settings(host=host, port=port)
    server = assemble(build(settings))
    shown, text = announcement(settings.host, settings.port)
    say(shown | {"instance": server.parts.instance}, text, as_json)
    serve(server, settings.host, settings.port)


def announcement(host: str, port: int) -> tuple[dict[str, str], str]:
    """What is said at the start, for programs and for people: the address, and a warning beyond loopback."""
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    if host in LOOPBACK:
        return {"address": address}, f"API server on {address}"
    warning = "bound beyond loopback without authentication"
    return {"address": address, "warning": warning}, f"API server on {address}\n{warning}"


def serve(server: Server, host: str, port: int) -> None:
    """Answer until SIGTERM or Ctrl-C."""
    uvicorn.run(
        create_app(server),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=10,
    )
