"""The metrics of a window and their HTML report, computed by Evidently.

Heavy: importing this module imports Evidently and pandas, several seconds. The warnings of numpy, sklearn and
scipy about Evidently's inside say nothing about the rows; they are silenced around it, and only there.
"""

import json
import os
import tempfile
import threading
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Any

from monitors.errors import MetricsError
from monitors.statistics.two_sample import FeatureSample
from monitors.windows.window import EvidentlyMetrics, Row, Window

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pandas as pd
    from evidently import BinaryClassification, DataDefinition, Dataset, MulticlassClassification, Report, metrics
    from evidently.core.metric_types import Metric
    from evidently.metrics import (
        Accuracy,
        F1ByLabel,
        MeanValue,
        QuantileValue,
        RecallByLabel,
        RowCount,
        ValueDrift,
    )

ColumnValues = Mapping[str, Sequence[float | str | None]]
"""The values of each column of a sample of rows: numbers with NaN where missing, or texts with None."""
_EVIDENTLY_LOCK = threading.Lock()
"""The filters of warnings are the process's, and Evidently promises no two threads anything."""
SYNTHETIC_ROWS = 220
DRIFT_LEVEL = 0.01  # below it Evidently marks a number of a picture as drifted; no decision rests on it
MARK = "\ue000"  # stands for "<" in clients' texts while Evidently writes them: in its script, `</script>` is an end
MAX_ROWS = 20_000  # Evidently's time and memory grow with the rows; exact counts do not come from here


def to_frame(rows: Sequence[Row], sources: Collection[str]) -> pd.DataFrame:
    """The rows as a table; a truth from another source than these counts as not known."""
    has_truth = [row.truth is not None and row.truth_source in sources for row in rows]
    columns = {
        "label": pd.Series([row.label for row in rows], dtype=object),
        "truth": pd.Series([row.truth if k else None for row, k in zip(rows, has_truth, strict=True)], dtype=object),
        "correct": pd.Series(
            [float(row.correct) if k else None for row, k in zip(rows, has_truth, strict=True)], dtype="float64"
        ),
        "confidence": pd.Series([row.confidence for row in rows], dtype="float64"),
        "latency_ms": pd.Series([row.latency_ms for row in rows], dtype="float64"),
    }
    return pd.DataFrame(columns)


def compute_metrics(
    window: Window, sources: Collection[str], report_path: Path | None = None, max_rows: int = MAX_ROWS
) -> EvidentlyMetrics:
    """Compute the metrics of the newest rows, and write the report if asked for and if there are rows."""
    frame = to_frame(window.rows[-max_rows:], sources)
    sampled = len(window.rows) > max_rows
    if frame.empty:
        return EvidentlyMetrics(0, 0, None, {}, None, sampled)
    labelled = int(frame["truth"].notna().sum())
    wanted: dict[str, Any] = {"rows": RowCount()}
    if frame["latency_ms"].notna().any():
        wanted |= {"p95": QuantileValue(column="latency_ms", quantile=0.95)}
    if labelled:
        wanted |= {"accuracy": Accuracy(), "recall": RecallByLabel()}
    with _evidently_session():
        snapshot = Report(list(wanted.values())).run(_dataset(frame), None)
        values = dict(zip(wanted, (metric["value"] for metric in snapshot.dict()["metrics"]), strict=True))
        if report_path is not None:
            _write(snapshot, report_path)
    return EvidentlyMetrics(
        n_predictions=int(values["rows"]),
        n_labelled=labelled,
        accuracy=float(values["accuracy"]) if labelled else None,
        class_recall={str(name): float(value) for name, value in values.get("recall", {}).items()},
        latency_p95_ms=float(values["p95"]) if "p95" in values else None,
        sampled=sampled,
    )


def metric_value(name: str, params: Mapping[str, Any], part: str | None, rows: Sequence[Row]) -> float:
    """One number of an Evidently metric, named by its class; `part` is asked for where a metric gives several.

    Raises MetricsError for a class or parameters Evidently does not have, and for what is no number.
    """
    frame = to_frame(rows, {row.truth_source for row in rows if row.truth_source is not None})
    with _evidently_session():
        metric = _make_metric(name, params)
        result = Report([metric]).run(_dataset(frame), None).dict()["metrics"][0]["value"]
    if isinstance(result, Mapping):
        parts = {str(key): value for key, value in result.items()}
        if part not in parts:
            raise MetricsError(f"Evidently's {name} gives {', '.join(parts)}; choose one with `value`")
        result = parts[part]
    elif part is not None:
        raise MetricsError(f"Evidently's {name} gives one number, not {part!r}; leave `value` out")
    if not isinstance(result, int | float):
        raise MetricsError(f"Evidently's {name} gives {str(result)[:200]!r}, which is no number; choose another metric")
    return float(result)


def value_on_synthetic_rows(name: str, params: Mapping[str, Any], part: str | None, classes: Sequence[str]) -> float:
    """The same on made-up rows of these classes, to see whether it can be computed at all."""
    moment = datetime(2000, 1, 1, tzinfo=UTC)
    rows = []
    for number in range(SYNTHETIC_ROWS):
        truth = classes[number % len(classes)]
        label = truth if number % 7 else classes[(number + 1) % len(classes)]
        confidence, spent = 0.5 + 0.4 * (number % 11) / 10, 1.0 + number % 13
        rows.append(Row(str(number), moment, label, confidence, spent, truth, "audit"))
    return metric_value(name, params, part, rows)


def _make_metric(name: str, params: Mapping[str, Any]) -> Any:  # noqa: ANN401 - Evidently's metrics are untyped
    metric_class = getattr(metrics, name, None)
    if not (isinstance(metric_class, type) and issubclass(metric_class, Metric)):
        names = [attribute for attribute in vars(metrics) if attribute[0].isupper()]
        near = ", ".join(get_close_matches(name, names)) or "see its documentation"
        raise MetricsError(f"Evidently {version('evidently')} has no metric {name!r}; near to it: {near}")
    try:
        return metric_class(**params)
    except (TypeError, ValueError) as error:
        raise MetricsError(f"Evidently's {name} does not take {dict(params)}: {error}") from error


def write_window_comparison(
    current: Window, reference: Window, sources: Collection[str], report_path: Path, max_rows: int = MAX_ROWS
) -> None:
    """Write the comparison of a window with an earlier one, newest rows of each."""
    now, before = (to_frame(window.rows[-max_rows:], sources) for window in (current, reference))
    if now.empty or before.empty:
        empty = current if now.empty else reference
        raise MetricsError(f"the window from {empty.start} to {empty.end} has no rows; compare windows with traffic")
    wanted: list[Any] = [
        RowCount(),
        MeanValue(column="confidence"),
        QuantileValue(column="latency_ms", quantile=0.95),
    ]
    wanted += [ValueDrift(column=name) for name in ("label", "confidence", "latency_ms")]
    seen_now, seen_before = _observed_labels(now), _observed_labels(before)
    if seen_now and seen_before:
        wanted.insert(0, MeanValue(column="correct"))
    if min(len(seen_now), len(seen_before)) > 2:
        wanted += [Accuracy(), RecallByLabel(), F1ByLabel()]
    with _evidently_session():
        _write(Report(wanted).run(_dataset(now), _dataset(before)), report_path)


def write_feature_drift(first: FeatureSample, newest: FeatureSample, report_path: Path) -> None:
    """Write Evidently's test of each plain number of two samples of pictures (Kolmogorov and Smirnov)."""
    before, now = (pd.DataFrame(dict(side.features)) for side in (first, newest))
    definition = DataDefinition(numerical_columns=list(now.columns))
    wanted = [ValueDrift(column=name, method="ks", threshold=DRIFT_LEVEL) for name in now.columns]
    with _evidently_session():
        sides = (Dataset.from_pandas(frame, data_definition=definition) for frame in (now, before))
        _write(Report([RowCount(), *wanted]).run(*sides), report_path)


def write_column_drift(first: ColumnValues, newest: ColumnValues, report_path: Path) -> None:
    """Write Evidently's test of each column of two samples of rows, and how much of it is missing.

    Numbers are tested by Kolmogorov and Smirnov, texts by their counts (chi square).
    """
    before, now = (
        pd.DataFrame({_marked(name): [_marked(value) for value in values] for name, values in side.items()})
        for side in (first, newest)
    )
    categories = [name for name in now.columns if now[name].dtype == object]
    numbers = [name for name in now.columns if name not in categories]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
    tests = {**dict.fromkeys(numbers, "ks"), **dict.fromkeys(categories, "chisquare")}
    wanted = [
        metric
        for name in now.columns
        for metric in (
            ValueDrift(column=name, method=tests[name], threshold=DRIFT_LEVEL),
            metrics.MissingValueCount(column=name),
        )
    ]
    with _evidently_session():
        sides = (Dataset.from_pandas(frame, data_definition=definition) for frame in (now, before))
        _write(Report([RowCount(), *wanted]).run(*sides), report_path)


def _observed_labels(frame: pd.DataFrame) -> list[str]:
    labelled = frame[frame["truth"].notna()]
    return sorted({*labelled["truth"], *labelled["label"]})


def _dataset(frame: pd.DataFrame) -> Dataset:
    labels = _observed_labels(frame)
    task: BinaryClassification | MulticlassClassification
    if len(labels) == 2:  # Evidently takes any two labels for a binary task and then asks which one is positive
        task = BinaryClassification(target="truth", prediction_labels="label", pos_label=labels[0])
    else:
        task = MulticlassClassification(target="truth", prediction_labels="label")
    definition = DataDefinition(
        classification=[task] if labels else None,
        categorical_columns=["truth", "label"] if labels else ["label"],
        numerical_columns=["latency_ms", "confidence", *(["correct"] if labels else [])],
    )
    return Dataset.from_pandas(
        frame if labels else frame.drop(columns=["truth", "correct"]), data_definition=definition
    )


@contextmanager
def _evidently_session() -> Iterator[None]:
    with _EVIDENTLY_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (ArithmeticError, KeyError, IndexError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise MetricsError(
                f"Evidently could not compute this window ({reason}); the exact counts remain"
            ) from error


def _marked(value: Any) -> Any:  # noqa: ANN401 - a value of any column
    return value.replace("<", MARK) if isinstance(value, str) else value


def _write(snapshot: Any, path: Path) -> None:  # noqa: ANN401 - Evidently's snapshot is untyped
    """Write the report beside its place and move it there whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".html")
    os.close(handle)
    unfinished = Path(name)
    try:
        snapshot.save_html(name)
        text = unfinished.read_text(encoding="utf-8")
        escaped = text.replace(json.dumps(MARK)[1:-1], r"\u003c").replace(MARK, "&lt;")
        if escaped != text:
            unfinished.write_text(escaped, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
