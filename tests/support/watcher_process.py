"""A watcher as a process of its own that does all that `platform watch` does, save that nothing is drawn by Evidently.

Importing Evidently and drawing with it is most of what a watcher computes, and neither decides anything. With the
argument COPIES its retrainings train nothing either, see `training_process`.
"""

import signal
import sys
from pathlib import Path

from mlplatform.context import create_context
from mlplatform.host.processes import exit_after
from mlplatform.retraining.supervisor import worker_command
from mlplatform.settings import load_settings
from mlplatform.watcher.scheduler import STOP_SECONDS, create_watcher
from monitors.rules.alerts_config import Rule
from monitors.windows.window import EvidentlyMetrics, Window

COPIES = "--copies"
TRAINING = Path(__file__).with_name("training_process.py")


def without_evidently(window: Window, _rule: Rule, _report: Path | None) -> EvidentlyMetrics:
    """No numbers and no drawing."""
    return EvidentlyMetrics(len(window.rows), 0, None, {}, None)


def copying_command(retraining_id: str, owner: str) -> list[str]:
    """The command of a retraining's process that trains nothing."""
    return [sys.executable, "-P", str(TRAINING), retraining_id, owner]


def main() -> None:
    """Watch until told to end."""
    command = copying_command if COPIES in sys.argv[1:] else worker_command
    watcher = create_watcher(create_context(load_settings()), without_evidently, command)

    def end(*_args: object) -> None:
        watcher.stop()
        exit_after(STOP_SECONDS)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    watcher.run()


if __name__ == "__main__":
    main()
