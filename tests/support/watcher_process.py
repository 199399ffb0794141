"""A watcher as a process of its own that does all that `platform watch` does, save that nothing is drawn by Evidently.

Importing Evidently and drawing with it is most of what a watcher computes, and neither decides anything.
"""

import signal
from pathlib import Path

from mlplatform.context import create_context
from mlplatform.host.processes import exit_after
from mlplatform.settings import load_settings
from mlplatform.watcher.scheduler import STOP_SECONDS, create_watcher
from monitors.rules.alerts_config import Rule
from monitors.windows.window import EvidentlyMetrics, Window


def without_evidently(window: Window, _rule: Rule, _report: Path | None) -> EvidentlyMetrics:
    """No numbers and no drawing."""
    return EvidentlyMetrics(len(window.rows), 0, None, {}, None)


def main() -> None:
    """Watch until told to end."""
    watcher = create_watcher(create_context(load_settings()), without_evidently)

    def end(*_args: object) -> None:
        watcher.stop()
        exit_after(STOP_SECONDS)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    watcher.run()


if __name__ == "__main__":
    main()
