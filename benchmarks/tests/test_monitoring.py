"""The figures of the benchmark of monitoring: what did not finish is null with its reason, never invented."""

import sys

from benchmarks.history import cells
from benchmarks.monitoring import SYSTEMS, figures


def cell(seconds: float) -> dict[str, object]:
    return {"seconds": seconds, "cpu_seconds": seconds / 2, "peak_mib": 100.0}


def platform(accuracy: float, early: float) -> dict[str, object]:
    rules = {"accuracy-drop": accuracy, "class-error": 0.2, "latency": 0.1, "expected-drop": early}
    half = {name: spent / 2 for name, spent in rules.items()}
    return cell(sum(rules.values())) | {"rules_seconds": rules, "rules_cpu_seconds": half}


def test_the_speedup_is_of_the_same_numbers_on_the_same_rows_and_the_slope_of_the_largest_history() -> None:
    small = {name: cell(2.0) for name in SYSTEMS} | {"platform_30d": platform(0.2, 9.0), "platform": platform(0.1, 0.0)}
    large = {name: cell(8.0) for name in SYSTEMS} | {"platform_30d": platform(0.7, 9.0), "platform": platform(0.5, 0.0)}
    told = figures([10, 100], [small, large])
    assert told["rows"] == [10, 100]
    assert told["seconds"]["evidently"] == [2.0, 8.0]
    assert told["peak_mib"]["nannyml"] == [100.0, 100.0]
    assert told["speedup_vs_evidently"] == told["speedup_vs_evidently_cpu"] == [4.0, 8.0]
    assert told["history_slope"] == told["history_slope_cpu"] == 2.0


def test_a_system_that_did_not_finish_is_null_with_its_reason() -> None:
    done = {name: cell(1.0) for name in SYSTEMS} | {"platform_30d": platform(0.7, 0.0)}
    told = figures([10, 100], [done, done | {"evidently": {"why_not": "not done in 600 s"}}])
    assert told["seconds"]["evidently"] == [1.0, None]
    assert told["why_not"]["evidently"] == [None, "not done in 600 s"]
    assert told["speedup_vs_evidently"] == [1.0, None]
    assert told["history_slope"] == 1.0


def python(code: str, seconds: float = 60, mib: float = 4_096) -> dict[str, object]:
    return cells.run([sys.executable, "-c", code], {"NAME": "value"}, seconds, mib)


def test_a_cell_is_what_its_last_line_says() -> None:
    assert python("import os; print('noise'); print('{\"name\": \"' + os.environ['NAME'] + '\"}')") == {"name": "value"}


def test_a_cell_beyond_its_bounds_is_ended_and_says_why() -> None:
    assert python("import time; time.sleep(60)", seconds=0.5) == {"why_not": "not done in 0.5 s"}
    hungry = "import time; kept = bytearray(200 * 2**20); time.sleep(60)"
    assert python(hungry, mib=150) == {"why_not": "more than 150 MiB of memory"}
    assert python("raise SystemExit('no such table')") == {"why_not": "failed with code 1: no such table"}


def test_a_process_knows_the_most_memory_it_has_held() -> None:
    before = cells.peak_mib()
    held = bytearray(64 * 2**20)
    held[:] = b"x" * len(held)
    assert cells.peak_mib() >= before > 1
    assert len(held) > 0
