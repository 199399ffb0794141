"""The wall clock of a watcher's host is set back and forth while it runs: no job stands still."""

from pathlib import Path

from mlplatform.alerting import evaluations
from mlplatform.clock import EPOCH
from mlplatform.host.processes import ManagedProcess
from mlplatform.store import leases
from tests.support.platform_processes import World
from tests.support.preload import library


class Host:
    """A host whose wall clock can be set; only what runs on it notices."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world, self._offset = world, folder / "offset"
        self.set(0)
        self._library = library("wallclock", folder)

    def set(self, seconds: int) -> None:
        """Let its clock differ from the right time by so much."""
        draft = self._offset.with_suffix(".draft")
        draft.write_text(str(seconds), encoding="utf-8")
        draft.replace(self._offset)

    def start(self, name: str, *words: str) -> ManagedProcess:
        """Start a command there."""
        return self._world.start(name, *words, LD_PRELOAD=str(self._library), WALLCLOCK_OFFSET=str(self._offset))


def work_done(world: World) -> tuple[int, object]:
    """How many evaluations there are, and the watcher's last sign of life."""
    with world.context.database.read() as connection:
        beats = [beat.at for beat in leases.recent_heartbeats(connection, EPOCH) if beat.component == "watcher"]
        return len(evaluations.recent(connection, limit=1000)), beats


STEPS = (-60, 0, -7200, 0, -600, -600, 0, 7200, 0)
"""By how many seconds the clock is wrong, one after the other."""


def test_a_watcher_goes_on_whichever_way_its_clock_is_set(world: World, tmp_path: Path) -> None:
    host = Host(world, tmp_path)
    watch = host.start("watch", "watch")
    world.record(60, right=0.97)
    world.wait("evaluations", lambda: work_done(world)[0] >= 2)
    for seconds in STEPS:
        host.set(seconds)
        before = work_done(world)

        def went_on(before: tuple[int, object] = before) -> bool:
            count, beats = work_done(world)
            return count >= before[0] + 3 and beats != before[1]

        world.wait(f"work after the clock was set to {seconds} s", went_on, 45)
    assert watch.is_running
    assert "the clock was set" in watch.log.read_text(encoding="utf-8")
