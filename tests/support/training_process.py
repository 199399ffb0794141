"""A retraining's process that trains nothing: the champion, registered again, is its candidate, and passes the gate.

Training and judging are most of what a retraining computes, and decide nothing about who starts, closes and repeats it.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from mlplatform.context import create_context
from mlplatform.retraining.worker import training_worker
from mlplatform.settings import load_settings
from pipelines.candidate.make_candidate import Candidate
from pipelines.candidate.row_selection import Rows, select_rows
from pipelines.candidate.training_spec import TrainingSpec
from pipelines.evaluation.classification_scores import score_predictions
from pipelines.trainer import EpochMetrics
from registry.catalog import CHALLENGER, Catalog
from registry.gate.verdict import Verdict
from registry.runs import TrackingStore

HOLD = "hold-training"
"""While a file of this name is in the platform's home, a training stays in its first epoch."""


def copy_champion(
    spec: TrainingSpec,
    tracking: TrackingStore,
    catalog: Catalog,
    *,
    on_rows: Callable[[Rows], None],
    on_start: Callable[[str], None],
    on_epoch: Callable[[EpochMetrics], None],
    should_stop: Callable[[], bool],
    is_wanted: Callable[[], bool],
) -> Candidate:
    """Go the steps of a training without its work."""
    assert spec.champion is not None
    assert spec.checkpoint_folder is not None
    name, golden = spec.pipeline.name, spec.split.golden
    champion = catalog.version(name, spec.champion.version)
    model = Path(champion.source).parent.name  # its folder is MODEL/artifacts
    on_rows(select_rows(spec))
    with tracking.start_run(name, "a copy", spec.tags) as run:
        on_start(run.id)
        on_epoch(EpochMetrics(1, 2, 0.1, 0.9, 0.1, 0.9, 0.01, 0.0))
        while (spec.checkpoint_folder.parent / HOLD).exists() and not should_stop():
            time.sleep(0.05)
        assert is_wanted()
        tags = {**champion.tags, **spec.tags}
        version = catalog.register(name, f"models:/{model}", run.id, tags, "a copy")
        catalog.set_alias(name, CHALLENGER, version)
    scores = score_predictions(spec.champion.predictor(golden.batch), golden.labels, spec.pipeline.classes)
    return Candidate(version, run.id, scores, Verdict("promote", ("It is a copy.",), ()), 0.0)


def main() -> None:
    """Carry out the retraining of these arguments."""
    retraining_id, owner = sys.argv[1:]
    worker = training_worker(create_context(load_settings()), copy_champion)
    sys.exit(0 if worker.run_retraining(retraining_id, owner) == "succeeded" else 1)


if __name__ == "__main__":
    main()
