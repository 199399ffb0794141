"""What choosing rows costs: 10 000 base rows, 5 000 golden rows and 2 000 labels, all of MNIST.

OMP_NUM_THREADS=1 PYTHONPATH=.:platform python docs/experiments/choosing_rows.py FOLDER_WITH_MNIST
"""

import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from pipelines.builtin.digits import COMPACT, PIPELINE
from pipelines.data import FeedbackRows, ImageSet, Split
from pipelines.idx import load_idx_folder
from pipelines.neighbours import fingerprint, near_duplicates
from pipelines.origin import Origin
from pipelines.predict import Predictor
from pipelines.retrain import Champion, Order, choose_rows


class Reader(Predictor):
    """A champion without a network."""

    def __init__(self, base: ImageSet) -> None:
        self.classes, self.height, self.width = PIPELINE.classes, PIPELINE.height, PIPELINE.width
        self._model = LogisticRegression(C=10, max_iter=2_000).fit(fingerprint(base.images) * 8, base.labels)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        answers: NDArray[np.float32] = self._model.predict_proba(fingerprint(images) * 8).astype(np.float32)
        return answers


def timed(name: str, call: Callable[[], object]) -> None:
    """Run it once and say what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    sys.stdout.write(f"{name}: {wall:.1f} s, {cpu:.1f} s of CPU; peak of the process so far {peak} MiB\n")


def main() -> None:
    """Measure the search for near-duplicates alone, then all of it."""
    train, test = load_idx_folder(Path(sys.argv[1]))
    golden, labelled = test.take(range(5_000)), test.take(range(5_000, 7_000))
    split = Split(train.take(range(10_000)), train.take(range(10_000, 11_000)), golden, test.take(range(7_000, 7_010)))
    ids = tuple(f"label {n}" for n in range(len(labelled)))
    order = Order(
        PIPELINE,
        replace(COMPACT, max_train_rows=None),
        split,
        FeedbackRows(labelled.images, labelled.labels, "feedback", ids),
        Champion(1, Reader(split.train.take(range(2_000))), 10**6),
        seed=0,
        reason="measured",
        origins={key: Origin("delayed", "", f"client {n % 40}") for n, key in enumerate(ids)},
    )
    timed("near_duplicates, 10 000 against 5 000", lambda: near_duplicates(split.train.images, golden.images))
    timed("choose_rows", lambda: choose_rows(order))
    timed("choose_rows without labels", lambda: choose_rows(replace(order, feedback=None)))
    timed("choose_rows, 2 000 base rows (compact)", lambda: choose_rows(replace(order, recipe=COMPACT)))
    rows = choose_rows(order)
    aside = Counter(each.reason for each in rows.set_aside)
    sys.stdout.write(f"base left out {rows.base_left_out}; set aside {dict(aside)}\n")


if __name__ == "__main__":
    main()
