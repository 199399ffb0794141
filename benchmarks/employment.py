"""Promise: over three years of real answers in which nothing happens, alarms keep their budget and nobody is promoted.

A census of Massachusetts, who is employed. A version of 2015 answers 2016 to 2018, the rows of each year spread evenly
over it in the order of the file, where neighbours and households lie together; 2015 itself is in an order of chance. So
labels of a day are not independent, and label by label the budget of false alarms is broken. `frozen_alarms_*` are
those about the model that made the file's own predictions, held against its errors of 2015. `--data-dir` names a folder
with `employment/employment.csv.gz`; `--quick` takes a fifth of the rows, a hundred neighbours at a time.
"""

import argparse
import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.tables.replay import alarm_days, figures
from benchmarks.tables.stream import TableStream, table_rules
from mlplatform.pipeline import Classification, TrainingContext, table
from monitors.windows.window import Baseline

COLUMNS: Final = (
    "AGEP", "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG", "MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "DREM", "SEX",
    "RAC1P",
)  # fmt: skip
POINTS: Final = 0.5
QUICK_SHARE: Final = 5
NEIGHBOURS: Final = 100
"""With `--quick`, so many rows that lie together stay together."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the rows")
    parser.add_argument("--data-dir", type=Path, help="a folder with employment/employment.csv.gz")
    parser.add_argument("--above", type=float, default=POINTS, help="points of accuracy that the rule allows")
    parser.add_argument("--only", choices=("block", "label"), help="leave out the other way of reading labels")
    arguments = parser.parse_args()
    source = None if arguments.data_dir is None else arguments.data_dir / "employment" / "employment.csv.gz"
    if source is None or not source.is_file():
        print("left out: --data-dir must name a folder with employment/employment.csv.gz, which no package holds alone")
        print(json.dumps({"skipped": "no employment.csv.gz"}))
        return
    stream = employment_stream(pd.read_csv(source), quick=arguments.quick, points=arguments.above)
    frozen = (stream.frame["prediction"] != stream.frame["employed"]).to_numpy()
    before = frozen[stream.days < 0]
    baseline = Baseline(int((~before).sum()), len(before))
    told = {
        f"frozen_alarms_{name}": len(alarm_days(stream, frozen, baseline, block))
        for name, block in (("block", "1d"), ("label", "label"))
    }
    print(told, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        told |= figures(stream, Path(folder), arguments.only)
    print(json.dumps({**told, "load": os.getloadavg()[0]}))


def employment_stream(rows: pd.DataFrame, *, quick: bool, points: float) -> TableStream:
    """The years one after the other."""
    if quick:
        rows = rows[(np.arange(len(rows)) // NEIGHBOURS) % QUICK_SHARE == 0]
    years = []
    for year, of_year in rows.groupby("year"):
        known = of_year.sample(frac=1.0, random_state=0) if year == 2015 else of_year
        begins, ends = pd.Timestamp(f"{year}-01-01"), pd.Timestamp(f"{year + 1}-01-01")
        seconds = np.floor(np.arange(len(known)) / len(known) * (ends - begins).total_seconds())
        years.append(known.assign(at=begins + pd.to_timedelta(seconds, unit="s")))
    frame = pd.concat(years, ignore_index=True)
    rules = table_rules("employment")
    return TableStream(PIPELINE, frame, datetime(2016, 1, 1, tzinfo=UTC), rules, points / 100)


def _train(context: TrainingContext) -> object:
    model = HistGradientBoostingClassifier(random_state=context.seed)
    return model.fit(context.x, context.y, sample_weight=context.weights)


PIPELINE = table(
    name="employment",
    columns=COLUMNS,
    target="employed",
    task=Classification(("0", "1")),
    time="at",
    rows=lambda _folder: pd.DataFrame(),
    train=_train,
    about="Who is employed.",
)


if __name__ == "__main__":
    main()
