"""`platform feedback`."""

from pathlib import Path

from mlplatform.context import AppContext
from tests.support.command_line import Command
from tests.support.platform_world import prediction, recorded
from tests.support.version_folder import DIGITS


def test_a_file_is_checked_first_and_then_taken(platform: Command, store: AppContext, tmp_path: Path) -> None:
    [one] = recorded(store.database, prediction())
    with store.database.write() as connection:
        store.contracts.pin(connection, DIGITS, "digits", 1, store.clock())
    path = tmp_path / "labels.csv"
    path.write_text(f"prediction_id,label\n{one},4\n")
    assert platform("feedback", "import", str(path)).code != 0
    words = ("feedback", "import", str(path), "--source", "delayed", "--json")
    assert platform(*words, "--dry-run").json == {"lines": 1, "known": 1, "waiting": 0, "unknown": 0}
    assert platform(*words).json["recorded"] == 1
    assert platform(*words).json["repeated"] == 1
