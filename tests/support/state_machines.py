"""What state machines of Hypothesis share: how deep they go, and a platform of their own for each example."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from mlplatform.context import AppContext
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from tests.support.platform_world import FakeCatalog, FakeClock

DEPTH: Final = int(os.environ.get("PLATFORM_TEST_MACHINE_DEPTH", "1"))
"""How many times more examples than in every run of the tests; above 1 they are drawn anew each time."""


class PlatformMachine(RuleBasedStateMachine):
    """A platform on a store of its own, with a clock and a registry of the test's."""

    def __init__(self, template: Path) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        shutil.copy(template, self.folder / "platform.db")
        made = Settings(_env_file=None, home=self.folder / "home", alerts_file=self.folder / "alerts.yaml")
        self.clock = FakeClock()
        self.database = Database(f"sqlite:///{self.folder / 'platform.db'}")
        self.context = AppContext(made, self.clock, database=self.database, catalog=FakeCatalog())

    def teardown(self) -> None:
        self.database.close()
        shutil.rmtree(self.folder)


def drive(machine: Callable[[Path], PlatformMachine], template: Path, examples: int, steps: int) -> None:
    """Run a machine: the same examples each time, more and other ones where a depth is asked for."""
    run_state_machine_as_test(
        lambda: machine(template),  # type: ignore[arg-type]  # a factory is as good as a class
        settings=settings(
            max_examples=examples * DEPTH,
            stateful_step_count=steps,
            derandomize=DEPTH == 1,
            deadline=None,
            database=None,
            phases=tuple(Phase) if DEPTH > 1 else (Phase.generate,),  # making a failure smaller takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
