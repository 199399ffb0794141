"""The figures of the serving benchmark: medians over rounds, compared with what was there."""

from typing import Any

from benchmarks.serving import figures
from benchmarks.shim.stage import _escaped


def seen(rps: float, p99: float) -> dict[str, list[float]]:
    """Three rounds around these figures."""
    return {
        "rps": [rps / 2, rps, rps * 1.5],
        "p50_ms": [p99 / 4] * 3,
        "p95_ms": [p99 / 2] * 3,
        "p99_ms": [p99, p99 * 2, p99 / 2],
        "cpu_ms": [1000 / rps] * 3,
    }


def told(without: tuple[str, ...] = ()) -> dict[str, Any]:
    systems = {"ours": 900, "ours_unrecorded": 1000, "constant": 1500, "mlflow": 100, "bentoml": 150, "litserve": 300}
    closed = {name: seen(rps, 5.0) for name, rps in systems.items() if name not in without}
    paced = {name: seen(50, 1000 / systems[name]) for name in closed}
    closed["bare"] = {"rps": [4000.0]}
    return figures(closed, paced, {"ours": 200.0}, 50.0, {"ours": {"recorded": 7, "dropped": 0}})


def test_shares_and_ratios_are_of_medians_and_recording_is_compared_round_by_round() -> None:
    found = told()
    assert (found["rps"]["ours"], found["limit_rps"]) == (900, {"bare_onnx": 4000, "constant_route": 1500})
    assert (found["ratio_best_peer"], found["share_of_limit"], found["recording_cost_pct"]) == (3.0, 0.6, 10.0)
    assert found["cpu_ratio_best_peer"] == 3.0
    assert found["rps_range"]["ours"] == [450, 1350]
    assert found["p99_ms"]["mlflow"] == 10.0
    assert found["recording_p99_ms"] == round(1000 / 900 - 1.0, 3)
    assert (found["rate"], found["recorder"]["recorded"], found["rss_mib"]) == (50, 7, {"ours": 200.0})


def test_the_best_peer_is_the_best_of_those_that_ran() -> None:
    assert told(without=("litserve",))["ratio_best_peer"] == 6.0
    assert told(without=("litserve", "mlflow", "bentoml"))["ratio_best_peer"] is None


def test_bytes_become_what_lua_reads_as_the_same_bytes() -> None:
    assert _escaped(bytes([0, 10, 34, 255])) == "\\000\\010\\034\\255"
