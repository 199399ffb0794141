"""The newest tuning of a host class holds, and forgetting it leaves others alone."""

from dataclasses import replace
from datetime import timedelta

import pytest

from mlplatform.predictions import compute_configs
from mlplatform.predictions.compute_configs import TunedConfig
from mlplatform.store.database import Database
from tests.support.platform_world import START

pytestmark = pytest.mark.both_databases

FOUND = TunedConfig("digits", "x86_64-2cpu", START, {"lanes": 2}, {"before": {"p95_ms": 2.0}}, "here:1")


def test_the_newest_takes_the_place_of_an_earlier_one(database: Database) -> None:
    newer = replace(FOUND, at=START + timedelta(hours=1), plan={"lanes": 4})
    with database.write() as connection:
        compute_configs.save(connection, FOUND)
        compute_configs.save(connection, replace(FOUND, host_class="arm64-8cpu"))
        compute_configs.save(connection, newer)
    with database.read() as connection:
        assert compute_configs.find(connection, "digits", "x86_64-2cpu") == newer
        assert compute_configs.find(connection, "digits", "arm64-8cpu") == replace(FOUND, host_class="arm64-8cpu")
        assert compute_configs.find(connection, "letters", "x86_64-2cpu") is None


def test_a_run_is_named_only_while_its_tuning_holds(database: Database) -> None:
    with database.write() as connection:
        compute_configs.save(connection, FOUND)
        compute_configs.record_run(connection, replace(FOUND, at=START - timedelta(hours=1)), "run-0")
        compute_configs.record_run(connection, FOUND, "run-1")
        found = compute_configs.find(connection, "digits", "x86_64-2cpu")
    assert found == replace(FOUND, run_id="run-1")


def test_what_is_forgotten_is_gone_and_nothing_else(database: Database) -> None:
    with database.write() as connection:
        compute_configs.save(connection, FOUND)
        compute_configs.save(connection, replace(FOUND, model_name="letters"))
        assert compute_configs.delete_config(connection, "digits", "x86_64-2cpu")
        assert not compute_configs.delete_config(connection, "digits", "x86_64-2cpu")
        assert compute_configs.find(connection, "letters", "x86_64-2cpu") is not None
