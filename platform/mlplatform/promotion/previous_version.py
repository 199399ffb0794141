"""Asks the version before a promotion what it would have answered, and draws for review among answers that differ.

It is asked about the answers of the last minutes, or about a part of them that the hash of their input draws, before
anything is known of their truth. What it says is kept as a shadow prediction.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from sqlalchemy import Connection

from mlplatform.clock import Clock
from mlplatform.predictions import prediction_counts, review_samples, shadow_predictions
from mlplatform.predictions.prediction_records import StoredInput
from mlplatform.predictions.review_samples import COMPARISON_PERIOD
from mlplatform.predictions.shadow_predictions import ShadowPrediction
from mlplatform.promotion.probations import Probation
from mlplatform.promotion.version_comparisons import probation_trial_id
from mlplatform.store import leases
from mlplatform.store.database import Database
from mlplatform.store.prediction import PredictionRecord
from pipelines.answers import AnswerReader
from pipelines.batch import Batch
from pipelines.errors import DataError, PipelineError
from pipelines.inputs.input_codec import InputCodec
from registry.catalog import Catalog
from registry.errors import RegistryError

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)
MAX_ASKED_PER_TICK: Final = 256
TRAFFIC_PERIOD: Final = timedelta(days=1)
"""The last stretch of the version before's service: its traffic says about which part of the answers it is asked."""


class Predictor(Protocol):
    """A version ready to predict, with what reads its outputs."""

    @property
    def reader(self) -> AnswerReader:
        """What its outputs mean."""

    def __call__(self, batch: Batch) -> "np.ndarray[Any, Any]":
        """Outputs (n, width) of rows."""


def load_predictor(catalog: Catalog, model: str, model_cache: Path, version: int) -> Predictor:
    """A registered version ready to predict on one thread."""
    from pipelines.engines.inference_engine import EngineConfig
    from pipelines.loading import load_engine
    from registry.model_package import read_contract

    folder = catalog.download(model, version, model_cache)
    return load_engine(folder, read_contract(folder), EngineConfig("torch", "cpu", threads=1))


@dataclass
class PreviousVersion:
    """The version before; `load` opens a version."""

    codec: Callable[[Connection, int], InputCodec]
    compared_per_day: int
    clock: Clock
    database: Database
    load: Callable[[int], Predictor]
    _loaded_version: tuple[int, Predictor] | None = None

    def forget(self) -> None:
        """Let go of the loaded version."""
        self._loaded_version = None

    def ask(self, lease: leases.Lease, probation: Probation) -> str:
        """Ask about the newest answers that were not asked about yet; returns what prevents it, in words."""
        now = self.clock()
        trial_id = probation_trial_id(probation.promotion_seq)
        window = (max(probation.at, now - COMPARISON_PERIOD), min(now + timedelta(microseconds=1), probation.until))
        with self.database.read() as connection:
            asked = shadow_predictions.unasked(
                connection,
                (probation.model_name, probation.version, probation.before),
                window,
                self._asked_part(connection, probation),
                MAX_ASKED_PER_TICK,
            )
        try:
            said = self._predict(probation, trial_id, asked)
        except (RegistryError, PipelineError, OSError) as error:
            log.error("version %d cannot be asked what it would have answered: %s", probation.before, error)
            return f"version {probation.before} cannot be asked: {error}"
        if said:
            answered = [record for record, _ in asked]
            labels = {row.prediction_id: row.label for row in said}
            differing = {record.id for record in answered if labels[record.id] != record.label}
            with self.database.write() as connection:
                leases.require_lease(connection, lease)
                shadow_predictions.insert_shadow_predictions(connection, said)
                review_samples.draw_disagreements(connection, answered, differing)
        return ""

    def _asked_part(self, connection: Connection, probation: Probation) -> float:
        """The part of the answers that the version before is asked about, by its own traffic before."""
        start, name = probation.at - TRAFFIC_PERIOD, probation.model_name
        per_day = prediction_counts.prediction_total(connection, name, probation.before, start, probation.at)
        return min(1.0, self.compared_per_day / max(1, per_day))

    def _predict(
        self, probation: Probation, trial_id: str, asked: Sequence[tuple[PredictionRecord, StoredInput]]
    ) -> list[ShadowPrediction]:
        """What the version before says of the inputs, given as they are kept; it stays loaded while it is needed.

        Where it could not be asked last time it is loaded even if there is nothing to ask: that must not pass unseen.
        """
        version = probation.before
        if not asked and not probation.reason:
            return []
        if self._loaded_version is None or self._loaded_version[0] != version:
            self._loaded_version = (version, self.load(version))
        if not asked:
            return []
        started_at = time.perf_counter()
        loaded = self._loaded_version[1]
        with self.database.read() as connection:
            codec, newer = (self.codec(connection, each) for each in (version, probation.version))
        _check_inputs(codec, version, [kept for _, kept in asked])
        _check_kept(newer, probation.version)
        answers = loaded.reader.answers(loaded(codec.unpack([kept.content for _, kept in asked])))
        spent_ms = (time.perf_counter() - started_at) * 1000 / len(asked)
        return [
            ShadowPrediction(
                prediction_id=record.id,
                model_version=version,
                trial_id=trial_id,
                at=self.clock(),
                label=answer.label,
                probabilities=[round(share, 6) for share in answer.shares],
                confidence=answer.confidence,
                latency_ms=spent_ms,
            )
            for (record, _), answer in zip(asked, answers, strict=True)
        ]


def _check_inputs(codec: InputCodec, version: int, kept: Sequence[StoredInput]) -> None:
    """Raise DataError where what is kept of the answers is not what the version reads: it would answer other rows."""
    for mismatch in filter(None, (codec.form_mismatch(each.form) for each in kept)):
        raise DataError(f"version {version} reads other inputs: {mismatch}")
    _check_kept(codec, version)


def _check_kept(codec: InputCodec, version: int) -> None:
    """Raise DataError where the version's answers were recorded without some of what it was given."""
    if not codec.identifies:
        raise DataError(f"columns that version {version} reads are not kept, so nothing says what they held")
