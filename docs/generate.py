"""Writes the reference pages from the code, so that they cannot differ from what runs; copies alerts.yaml for `init`.

`python docs/generate.py` writes them; with `--check` it names those that are not current and ends with 1.
The same code gives the same bytes: nothing here depends on the machine, the time or the environment.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "platform"), str(ROOT / "docs")]  # this checkout, whatever is installed

from generator.alerts import alerts_page  # noqa: E402
from generator.commands import commands_page  # noqa: E402
from generator.grafana import alert_rules, dashboard  # noqa: E402
from generator.http import http_page  # noqa: E402
from generator.metrics import metrics_page  # noqa: E402
from generator.server import describe_server  # noqa: E402
from generator.settings import exit_codes_page, settings_page  # noqa: E402
from monitors.rules.alerts_config import json_schema  # noqa: E402


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check compare them with what is there; the exit status of the process."""
    pages = reference_pages()
    if arguments == ["--check"]:
        stale = [name for name, text in pages.items() if not _is(ROOT / name, text)]
        for name in stale:
            print(f"{name} is not what the code says; run: python docs/generate.py")  # noqa: T201 - a command
        return 1 if stale else 0
    if arguments:
        print(__doc__)  # noqa: T201
        return 2
    for name, text in pages.items():
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(text, encoding="utf-8")
    return 0


def reference_pages() -> dict[str, str]:
    """Every generated file by its path in the repository."""
    served, rules = describe_server(), (ROOT / "alerts.yaml").read_text(encoding="utf-8")
    return {
        "docs/reference/commands.md": commands_page(),
        "docs/reference/settings.md": settings_page(),
        "docs/reference/http.md": http_page(served),
        "docs/reference/metrics.md": metrics_page(served.registry),
        "deploy/grafana/dashboard.json": dashboard(served.registry),
        "deploy/grafana/alert-rules.yml": alert_rules(served.registry),
        "docs/reference/alerts-file.md": alerts_page(rules),
        "platform/mlplatform/templates/alerts.yaml": rules,  # what `platform init` writes
        "docs/reference/exit-codes.md": exit_codes_page(),
        "docs/alerts.schema.json": json.dumps(json_schema(), indent=2) + "\n",
    }


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
