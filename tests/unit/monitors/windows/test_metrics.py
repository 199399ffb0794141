import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from monitors.errors import MetricsError
from monitors.statistics.two_sample import FeatureSample
from monitors.windows.window import Row, Window
from tests.support.monitor_examples import DIGITS, labelled, row, window

SOURCES = ("audit", "delayed")


def traffic(n: int, accuracy: float, seed: int, labels: float = 0.6) -> Window:
    """Answers of all ten classes, a share of them labelled."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        truth = str(generator.integers(10))
        answer = truth if generator.random() < accuracy else str(generator.integers(10))
        known = truth if generator.random() < labels else None
        rows.append(row(number, answer, known, latency_ms=float(generator.gamma(3, 2))))
    return window(rows)


def test_the_numbers_are_those_of_counting_by_hand() -> None:
    from monitors.windows import evidently_adapter

    the_window = traffic(500, 0.9, seed=1)
    rows = the_window.labelled(SOURCES)
    found = evidently_adapter.compute_metrics(the_window, SOURCES)
    assert (found.n_predictions, found.n_labelled, found.sampled) == (500, len(rows), False)
    assert found.accuracy == pytest.approx(np.mean([r.correct for r in rows]), abs=1e-12)
    assert found.latency_p95_ms == pytest.approx(np.quantile([r.latency_ms for r in the_window.rows], 0.95))
    assert sorted(found.class_recall) == sorted(DIGITS)
    for name, recall in found.class_recall.items():
        assert recall == pytest.approx(np.mean([r.correct for r in rows if r.truth == name]), abs=1e-12)


SMALL: dict[str, list[Row]] = {
    "one right answer": labelled(1, 0),
    "one wrong answer": labelled(0, 1),
    "two classes": labelled(3, 2),
    "two classes, one never answered": [*labelled(2, 0, "1"), *labelled(0, 2, "0", start=2)],
    "two labelled classes among many answers": [row(0, "1", "0"), row(1, "2"), row(2, "3"), row(3, "0", "1")],
    "a class that is answered but never true": [row(0, "1", "1"), row(1, "2", "2"), row(2, "7", "1")],
    "every class wrong": [row(n, str((n + 1) % 10), str(n)) for n in range(10)],
}


@pytest.mark.parametrize("rows", SMALL.values(), ids=SMALL.keys())
def test_small_windows_and_absent_classes_are_measured_too(rows: list[Row]) -> None:
    from monitors.windows import evidently_adapter

    the_window = window(rows)
    found = evidently_adapter.compute_metrics(the_window, SOURCES)
    truths = the_window.labelled(SOURCES)
    assert found.accuracy == pytest.approx(np.mean([r.correct for r in truths]))
    assert sorted(found.class_recall) == sorted({r.truth for r in truths if r.truth is not None})


def test_a_window_without_labels_has_only_latency(tmp_path: Path) -> None:
    from monitors.windows import evidently_adapter

    found = evidently_adapter.compute_metrics(
        window([row(0), row(1, truth="1", source="correction")]), SOURCES, tmp_path / "r.html"
    )
    assert (found.n_predictions, found.n_labelled, found.accuracy, found.latency_p95_ms) == (2, 0, None, 5.0)
    assert (tmp_path / "r.html").exists()


def test_an_empty_window_has_nothing_and_leaves_no_report(tmp_path: Path) -> None:
    from monitors.windows import evidently_adapter

    found = evidently_adapter.compute_metrics(window([]), SOURCES, tmp_path / "r.html")
    assert (found.n_predictions, found.accuracy, found.latency_p95_ms) == (0, None, None)
    assert list(tmp_path.iterdir()) == []


def test_a_large_window_is_cut_to_its_newest_rows_and_says_so() -> None:
    from monitors.windows import evidently_adapter

    rows = [*labelled(0, 50), *labelled(30, 0, start=50)]
    found = evidently_adapter.compute_metrics(window(rows), SOURCES, max_rows=30)
    assert (found.n_predictions, found.accuracy, found.sampled) == (30, 1.0, True)


def test_the_report_is_written_whole_and_stands_alone(tmp_path: Path) -> None:
    from monitors.windows import evidently_adapter

    place = tmp_path / "evidence" / "report.html"
    evidently_adapter.compute_metrics(traffic(60, 0.9, seed=3), SOURCES, place)
    text = place.read_text(encoding="utf-8")
    assert "Accuracy" in text
    assert text.rstrip().endswith("</html>")
    assert "<script src=" not in text
    assert [entry.name for entry in place.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (traffic(120, 0.97, seed=4), traffic(120, 0.5, seed=5)),
        (traffic(40, 0.97, seed=4), window(labelled(3, 2))),
        (window(labelled(3, 2)), window([row(0), row(1)])),
    ],
    ids=["before and after", "two classes after", "no labels after"],
)
def test_a_comparison_is_written_for_any_two_windows_with_rows(before: Window, after: Window, tmp_path: Path) -> None:
    from monitors.windows import evidently_adapter

    evidently_adapter.write_window_comparison(after, before, SOURCES, tmp_path / "compare.html")
    assert (tmp_path / "compare.html").stat().st_size > 10_000


def test_a_comparison_with_an_empty_window_is_refused(tmp_path: Path) -> None:
    from monitors.windows import evidently_adapter

    with pytest.raises(MetricsError, match="has no rows; compare windows with traffic"):
        evidently_adapter.write_window_comparison(window([row(0)]), window([]), SOURCES, tmp_path / "compare.html")
    assert list(tmp_path.iterdir()) == []


def test_every_other_module_of_the_room_imports_without_a_heavy_library() -> None:
    from monitors.windows import evidently_adapter

    room = Path(evidently_adapter.__file__).parents[1]
    paths = sorted(path.relative_to(room.parent).with_suffix("") for path in room.rglob("*.py"))
    light = ", ".join(".".join(path.parts) for path in paths if path.stem not in ("__init__", "evidently_adapter"))
    script = f"import sys, {light}\nprint({{'numpy', 'pandas', 'evidently'}} & sys.modules.keys())"
    root = room.parent
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_pictures_are_compared_number_by_number(tmp_path: Path) -> None:
    from monitors.windows import evidently_adapter

    generator = np.random.default_rng(1)
    first = FeatureSample({"mean": generator.normal(0, 1, 100), "noise": generator.normal(0, 1, 100)})
    newest = FeatureSample({"mean": generator.normal(2, 1, 80), "noise": generator.normal(0, 1, 80)})
    evidently_adapter.write_feature_drift(first, newest, tmp_path / "pictures.html")
    page = (tmp_path / "pictures.html").read_text(encoding="utf-8")
    assert "mean" in page
    assert "noise" in page


def test_texts_of_clients_end_no_script_of_a_report(tmp_path: Path) -> None:
    from monitors.windows.evidently_adapter import write_column_drift

    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    written = []
    for text in ("plain", hostile):
        first, newest = (
            {f"city {text}": values * 60, "age": [1.0, 2.0, float("nan")] * 60}
            for values in (["a", None, text], [text, text, "a"])
        )
        write_column_drift(first, newest, tmp_path / "report.html")
        written.append((tmp_path / "report.html").read_text(encoding="utf-8"))
    plain, marked = written
    for tag in ("<script", "</script", "<img"):
        assert marked.count(tag) == plain.count(tag), tag
    assert r"\u003c/script>\u003cscript>alert(1)" in marked  # a reader sees the text as it was sent
    assert "\ue000" not in marked
