"""`platform retention`."""

import pytest

from mlplatform.context import AppContext
from tests.support.command_line import Command
from tests.support.platform_world import prediction, recorded


def test_what_is_kept_is_said_and_removed_and_a_client_forgotten(
    platform: Command, store: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(store.database, prediction(), prediction(seed=1))
    assert "kept for ever" in platform("retention", "status").out
    left = ("answers", "pictures", "blotted", "column_counts")
    assert platform("retention", "run", "--json").json == dict.fromkeys(left, 0)
    assert "2 answers erased with 2 inputs" in platform("retention", "erase", "--client", "client").out
    recorded(store.database, prediction())
    monkeypatch.setenv("PLATFORM_RETAIN_ANSWERS_DAYS", "10")
    assert platform("retention", "status", "--json").json["answers"]["days"] == 10
    assert platform("retention", "run", "--json").json["answers"] == 1
