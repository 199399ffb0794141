"""Our API server as a process: python -m benchmarks.shim.ours PORT [--unrecorded].

Recorded it is what `platform serve` runs; unrecorded its recorder throws the answers away: what recording costs.
"""

import sys

from mlplatform.serve.run_server import build_process_server, serve
from mlplatform.settings import load_settings


def main(port: str, *options: str) -> None:
    """Serve until told to end."""
    settings = load_settings(port=int(port))
    server = build_process_server(settings)
    if "--unrecorded" in options:
        vars(server.recorder)["append"] = lambda _answers: 0  # no setting does this: recording is the point
    serve(server, settings.host, settings.port)


if __name__ == "__main__":
    main(*sys.argv[1:])
