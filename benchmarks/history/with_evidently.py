"""Plain Evidently on the whole table: `python -m benchmarks.history.with_evidently URL REPEATS`.

What an Evidently-based project does each time it looks: read the answers with their labels, build a dataset, run a
report of accuracy, recall by class and the latency's 95th percentile. Prints one JSON object.
"""

import json
import sys
import warnings

from benchmarks.history.cells import measured, peak_mib

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pandas as pd
    from evidently import DataDefinition, Dataset, MulticlassClassification, Report
    from evidently.metrics import Accuracy, QuantileValue, RecallByLabel
    from sqlalchemy import Engine, create_engine

QUERY = """
SELECT p.label, p.confidence, p.latency_ms, f.label AS truth FROM predictions p
LEFT JOIN feedback f ON f.prediction_id = p.id AND f.superseded_by IS NULL AND f.source IN ('audit', 'delayed')
WHERE p.model_name = 'digits' AND p.model_version = 1
"""


def main() -> None:
    engine, repeats, started = create_engine(sys.argv[1]), int(sys.argv[2]), peak_mib()
    warnings.simplefilter("ignore")
    print(json.dumps(measured(lambda: _report(engine), repeats) | {"start_mib": started, "peak_mib": peak_mib()}))


def _report(engine: Engine) -> dict[str, float]:
    with engine.connect() as connection:
        frame = pd.read_sql_query(QUERY, connection.connection.dbapi_connection)
    definition = DataDefinition(
        classification=[MulticlassClassification(target="truth", prediction_labels="label")],
        categorical_columns=["truth", "label"],
        numerical_columns=["latency_ms", "confidence"],
    )
    report = Report([Accuracy(), RecallByLabel(), QuantileValue(column="latency_ms", quantile=0.95)])
    found = report.run(Dataset.from_pandas(frame, data_definition=definition), None).dict()
    return {"rows": len(frame), "accuracy": float(found["metrics"][0]["value"])}


if __name__ == "__main__":
    main()
