"""Which of Evidently's metrics give a number from predictions and labels as they are kept.

Rows have a label, a truth, a confidence and a latency: no probability for each class, no regression, no ranking, and no
rows of another time beside them. A test tries every metric of the installed Evidently and holds this table to it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

NUMERIC_COLUMNS: Final = ("confidence", "correct", "latency_ms")
LABEL_COLUMNS: Final = ("label", "truth")
ALL_COLUMNS: Final = (*LABEL_COLUMNS, *NUMERIC_COLUMNS)
COUNT_VALUES: Final = ("count", "share")


@dataclass(frozen=True)
class MetricRequirements:
    """What a metric must be made with: the columns it can be of, and which of several numbers is meant."""

    columns: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    by_class: bool = False


_NUMERIC_COLUMN_METRIC, _COUNT_METRIC = (
    MetricRequirements(NUMERIC_COLUMNS),
    MetricRequirements(ALL_COLUMNS, COUNT_VALUES),
)
SUPPORTED_METRICS: Final[Mapping[str, MetricRequirements]] = {
    **dict.fromkeys(("Accuracy", "F1Score", "Precision", "Recall"), MetricRequirements()),
    **dict.fromkeys(("DummyAccuracy", "DummyF1Score", "DummyPrecision", "DummyRecall"), MetricRequirements()),
    **dict.fromkeys(
        ("AlmostConstantColumnsCount", "AlmostDuplicatedColumnsCount", "ColumnCount"), MetricRequirements()
    ),
    **dict.fromkeys(("ConstantColumnsCount", "DuplicatedColumnsCount", "EmptyColumnsCount"), MetricRequirements()),
    **dict.fromkeys(("DuplicatedRowCount", "EmptyRowsCount", "RowCount"), MetricRequirements()),
    **dict.fromkeys(
        ("F1ByLabel", "PrecisionByLabel", "RecallByLabel", "RocAucByLabel"), MetricRequirements(by_class=True)
    ),
    **dict.fromkeys(("MaxValue", "MeanValue", "MedianValue", "MinValue", "QuantileValue"), _NUMERIC_COLUMN_METRIC),
    **dict.fromkeys(("StdValue", "SumValue"), _NUMERIC_COLUMN_METRIC),
    **dict.fromkeys(("CategoryCount", "InListValueCount", "OutListValueCount", "MissingValueCount"), _COUNT_METRIC),
    **dict.fromkeys(("InRangeValueCount", "OutRangeValueCount"), MetricRequirements(NUMERIC_COLUMNS, COUNT_VALUES)),
    "DatasetMissingValueCount": MetricRequirements((), COUNT_VALUES),
}


def config_problems(name: str, params: object, value: object) -> Iterator[tuple[str, str]]:
    """What keeps a metric from ever giving a number: the key of the rule that says so, and why with what can be."""
    requirements = SUPPORTED_METRICS.get(name)
    if requirements is None:
        near = ", ".join(get_close_matches(name, SUPPORTED_METRICS)) or ", ".join(sorted(SUPPORTED_METRICS))
        why = "answers have a label and a confidence, no probability for each class, and nothing to compare with"
        yield "metric", f"'evidently:{name}' gives no number here: {why}; near to it: {near}"
        return
    if requirements.columns:
        column = params.get("column") if isinstance(params, Mapping) else None
        if column not in requirements.columns:
            said = "names no column" if column is None else f"names column {column!r}"
            example = f"such as {{column: {requirements.columns[0]}}}"
            yield "params", f"{said}; {name} can be of: {', '.join(requirements.columns)}, {example}"
    yield from _value_problems(name, requirements, value)


def _value_problems(name: str, requirements: MetricRequirements, value: object) -> Iterator[tuple[str, str]]:
    if requirements.by_class and value is None:
        yield "value", f'is missing; {name} gives a number for each class: name one, such as "3"'
    elif requirements.values and value not in requirements.values:
        said = "is missing" if value is None else f"{value!r} is none of its numbers"
        yield "value", f"{said}; {name} gives {' and '.join(requirements.values)}: choose one"
    elif not requirements.by_class and not requirements.values and value is not None:
        yield "value", f"{value!r} chooses among several numbers, and {name} gives one; leave it out"
