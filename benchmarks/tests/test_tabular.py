"""The figures of the benchmark of tables, and what it sends and measures without a server."""

import json
from pathlib import Path

from benchmarks.shim.tables import classifier
from benchmarks.tabular import BATCHED_ROWS, figures, micro, write_scripts
from registry.model_contract import Column

COLUMNS = (
    *(Column(name, "number") for name in classifier.NUMBERS),
    *(Column(name, "category", known=("red", "green", "blue", "white", "black")) for name in classifier.NAMES),
)


def test_ratios_are_of_medians_over_rounds_and_of_the_best_peer_that_ran() -> None:
    seen = {"ours": [900.0, 1000.0, 5000.0], "mlflow": [10.0, 20.0, 30.0], "litserve": [100.0, 200.0, 400.0]}
    told = figures(seen, [6400.0, 12800.0, 64000.0], {"recorded": 7, "dropped": 0})
    assert (told["rps"], told["ratio_best_peer"]) == ({"ours": 1000, "mlflow": 20, "litserve": 200}, 5.0)
    assert (told["rps_rows_batched"], told["rps_range"]["ours"]) == (12800, [900, 5000])
    assert figures({"ours": [1.0]}, [1.0], {})["ratio_best_peer"] is None


def test_rows_are_twenty_columns_with_gaps_and_always_the_same() -> None:
    rows = classifier.make_rows()
    assert rows.equals(classifier.make_rows())
    assert len(classifier.NUMBERS + classifier.NAMES) == 20
    assert 0.03 < rows[classifier.NUMBERS].isna().to_numpy().mean() < 0.07
    assert set(rows["truth"]) == set(classifier.CLASSES)


def test_decoding_and_counting_are_measured_on_rows_that_are_read() -> None:
    told = micro(COLUMNS)
    assert set(told) == {"decode_us", "column_counts_us"}
    assert all(0 < value < 10_000 for value in told.values())


def test_scripts_hold_the_requests_of_each_system(tmp_path: Path) -> None:
    rows = classifier.make_rows(8)[classifier.NUMBERS + classifier.NAMES]
    write_scripts(tmp_path, json.loads(rows.to_json(orient="records")))
    scripts = {path.stem: path.read_text() for path in tmp_path.glob("*.lua")}
    assert set(scripts) == {"rows", "batched", "mlflow"}
    bodies = [line[4:].rpartition("]==]")[0] for line in scripts["batched"].splitlines() if line.startswith("[==[")]
    assert {len(json.loads(body)["rows"]) for body in bodies} == {BATCHED_ROWS}
    assert '"dataframe_records": [{"n0"' in scripts["mlflow"]
    assert "BODIES" not in scripts["rows"]
