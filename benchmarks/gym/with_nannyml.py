"""NannyML on the gym's streams, in an environment of its own: `-m benchmarks.gym.with_nannyml FOLDER PER_DAY`.

The folder holds `reference.npz` (probabilities and the true classes) and a file of probabilities for each stream. Its
confidence-based estimate (CBPE) with the thresholds it comes with looks at each day; prints which days alarmed, by
stream, as one JSON object.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    warnings.simplefilter("ignore")
    import nannyml
    import pandas as pd

    folder, per_day = Path(sys.argv[1]), int(sys.argv[2])
    held = np.load(folder / "reference.npz")
    names = {str(number): f"probability_{number}" for number in range(held["shares"].shape[1])}

    def frame(shares: Any) -> Any:  # noqa: ANN401 - arrays and frames of the other environment
        made = pd.DataFrame(shares, columns=list(names.values()))
        return made.assign(y_pred=shares.argmax(axis=1).astype(str))

    estimator = nannyml.CBPE(
        metrics=["accuracy"],
        y_pred="y_pred",
        y_pred_proba=names,
        y_true="y_true",
        problem_type="classification_multiclass",
        chunk_size=per_day,
    ).fit(frame(held["shares"]).assign(y_true=held["truths"].astype(str)))
    found = {}
    for path in sorted(folder.glob("*.npy")):
        told = estimator.estimate(frame(np.load(path).astype(np.float64))).filter(period="analysis").to_df()
        alarms = told[("accuracy", "alert")].to_numpy()
        found[path.stem] = [day for day, alarm in enumerate(alarms) if alarm]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
