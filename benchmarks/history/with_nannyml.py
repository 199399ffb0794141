"""NannyML on the whole table, in an environment of its own: `-m benchmarks.history.with_nannyml URL REPEATS REFERENCE`.

Fits on the reference once; each look reads the answers with their labels, estimates accuracy without labels (CBPE)
and calculates the realized accuracy and recall, day by day. Prints one JSON object.
"""

import csv
import json
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from benchmarks.history.cells import measured, peak_mib

CLASSES = "0123456789"
SHARES = {name: f"probability_{name}" for name in CLASSES}
QUERY = """
SELECT p.at, p.label AS y_pred, p.probabilities, f.label AS y_true FROM predictions p
LEFT JOIN feedback f ON f.prediction_id = p.id AND f.superseded_by IS NULL AND f.source IN ('audit', 'delayed')
WHERE p.model_name = 'digits' AND p.model_version = 1 ORDER BY p.at
"""


def main() -> None:
    warnings.simplefilter("ignore")
    import nannyml
    import pandas as pd
    from sqlalchemy import create_engine

    engine, repeats, started = create_engine(sys.argv[1]), int(sys.argv[2]), peak_mib()
    known = {"y_pred": "y_pred", "y_pred_proba": SHARES, "y_true": "y_true", "timestamp_column_name": "at"}
    shape = {**known, "problem_type": "classification_multiclass", "chunk_period": "D"}
    with open(sys.argv[3], encoding="utf-8", newline="") as file:  # noqa: PTH123 - nothing but this script is imported
        reference = _frame(pd, [(at, label, shares, truth) for at, label, shares, truth in csv.reader(file)])
    estimator = nannyml.CBPE(metrics=["accuracy"], **shape).fit(reference)
    calculator = nannyml.PerformanceCalculator(metrics=["accuracy", "recall"], **shape).fit(reference)

    def look() -> dict[str, float]:
        with engine.connect() as connection:
            cursor = connection.connection.cursor()
            cursor.execute(QUERY)
            frame = _frame(pd, cursor.fetchall())
        estimated = estimator.estimate(frame).to_df()[("accuracy", "value")]
        realized = calculator.calculate(frame).to_df()[("accuracy", "value")]
        return {"rows": len(frame), "estimated": float(estimated.mean()), "accuracy": float(realized.mean())}

    print(json.dumps(measured(look, repeats) | {"start_mib": started, "peak_mib": peak_mib()}))


def _frame(pd: Any, rows: Sequence[Any]) -> Any:  # noqa: ANN401 - a frame of the other environment's pandas
    ats, labels, shares, truths = zip(*rows, strict=True)
    read = [each if isinstance(each, list) else json.loads(each) for each in shares]
    frame = pd.DataFrame(read, columns=list(SHARES.values()))
    frame["at"] = pd.to_datetime(pd.Series(ats), utc=True, format="ISO8601").dt.tz_localize(None)
    return frame.assign(y_pred=labels, y_true=truths)


if __name__ == "__main__":
    main()
