"""A table's rows in the order of their time, and versions that answer them, trained and judged as the platform does."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlplatform.operations.scaffold import rules_for
from monitors.rules.alerts_config import AlertsConfig, Rule, parse_rules
from monitors.rules.block_unit import parse_block_unit
from monitors.windows.window import Baseline
from pipelines.candidate.gate_evidence import PROMOTION_TAG
from pipelines.candidate.make_candidate import make_candidate
from pipelines.candidate.training_spec import TrainingSpec, load_champion
from pipelines.data import Examples
from pipelines.engines.inference_engine import EngineConfig, InferenceEngine
from pipelines.engines.table_engine import table_engine_from_bytes
from pipelines.loading import load_engine
from pipelines.pipeline import Pipeline
from pipelines.table.table_data import labelled_rows
from pipelines.table.table_pipeline import TablePipeline
from pipelines.table.table_training import TableTraining, fit_table
from registry.catalog import QUARANTINE_TAG
from registry.gate.policy import GatePolicy
from registry.model_contract import ModelContract, TableInputs
from registry.model_package import read_contract
from tests.support.fake_registry import FakeTracking, MemoryCatalog

DAY: Final = 86_400.0
FEWEST_RECENT: Final = 500
"""Rows that a blind training needs."""
ANY_LATENCY: Final = GatePolicy(latency_floor_ms=1e6)
"""The gate's usual policy, but that a busy machine decides nothing: a replay is about rows."""
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TableStream:
    """Rows sorted by time; those before `begins` teach the first version, those after are answered day by day."""

    pipeline: TablePipeline
    frame: pd.DataFrame
    begins: datetime
    """In UTC, as times of the rows are read."""
    rules: AlertsConfig
    above: float
    """How much less accurate the rule allows a version to be, a share."""

    @cached_property
    def days(self) -> NDArray[np.float64]:
        """When each row was, in days since `begins`; negative for those that teach."""
        moments = self.frame[self.pipeline.roles.time] - pd.Timestamp(self.begins.replace(tzinfo=None))
        days: NDArray[np.float64] = moments.dt.total_seconds().to_numpy() / DAY
        return days

    @property
    def length(self) -> int:
        """How many days are answered."""
        return int(np.ceil(self.days[-1]))

    def accuracy_rule(self, block: str) -> Rule:
        """The rule about accuracy that `platform init --task table` writes, by day or label by label.

        Labels are complete here, so none has to wait for others.
        """
        [written] = [each for each in self.rules.rules if each.metric == "accuracy_drop"]
        return written.model_copy(
            update={"block": parse_block_unit(block), "mature": timedelta(0), "above": self.above}
        )


def table_rules(name: str) -> AlertsConfig:
    """The rules that `platform init --task table` writes."""
    return parse_rules(rules_for(name, "table"), "alerts.yaml", {})


@dataclass(frozen=True)
class Trained:
    """A registered version, whether its gate promotes it, and what it is held against in production."""

    version: int
    outcome: str
    reasons: tuple[str, ...]
    baseline: Baseline


class Versions:
    """The versions of one replay, in a registry in memory; everything else is the platform's own."""

    def __init__(self, stream: TableStream, folder: Path, *, by_day: bool) -> None:
        self._stream, self._folder, self._by_day = stream, folder, by_day
        self.catalog = MemoryCatalog(FakeTracking())
        self._wrong: dict[int, Flags] = {}

    def train(self, until: float, champion: int | None) -> Trained:
        """A candidate on all rows before a day, compared with the champion by the gate."""
        pipeline = self._pipeline(self._stream.days < until)
        known = None if champion is None else load_champion(self.catalog, pipeline, champion, self._folder)
        rows, recipe = pipeline.load(None), pipeline.recipe()
        spec = TrainingSpec(pipeline, recipe, rows, None, known, 0, "replayed", policy=ANY_LATENCY)
        made = make_candidate(spec, self.catalog.tracking, self.catalog)
        baseline = Baseline(made.scores.correct, made.scores.n)
        return Trained(made.version, made.verdict.outcome, tuple(made.verdict.reasons), baseline)

    def promote(self, version: int) -> None:
        """Note that it was champion."""
        self.catalog.set_tag(self._stream.pipeline.name, version, PROMOTION_TAG, "promote")

    def quarantine(self, version: int) -> None:
        """Note that it was proved worse than the one before."""
        self.catalog.set_tag(self._stream.pipeline.name, version, QUARANTINE_TAG, "replayed")

    def wrong(self, version: int) -> Flags:
        """Whether the version answers each row of the stream wrongly, also rows before its time."""
        if version not in self._wrong:
            folder = self.catalog.download(self._stream.pipeline.name, version, self._folder)
            engine = load_engine(folder, read_contract(folder), EngineConfig())
            self._wrong[version] = wrong_answers(engine, self.rows)
        return self._wrong[version]

    @cached_property
    def contract(self) -> ModelContract:
        """What the first version takes and answers."""
        return self._pipeline(self._stream.days < 0).contract

    @cached_property
    def rows(self) -> Examples:
        """All rows with their truths."""
        stream, contract = self._stream, self.contract
        assert isinstance(contract.inputs, TableInputs)
        return labelled_rows(stream.frame, contract.inputs.columns, stream.pipeline.roles, contract.classes, "all")

    def _pipeline(self, chosen: Flags) -> Pipeline:
        frame = self._stream.frame[chosen]
        pipeline = replace(self._stream.pipeline, rows=lambda _folder: frame).with_rows(None)
        if self._by_day:
            return pipeline
        return replace(pipeline, contract=replace(pipeline.contract, block_seconds=None))


def wrong_answers(engine: InferenceEngine, rows: Examples) -> Flags:
    """Which rows are answered wrongly."""
    wrong: Flags = engine(rows.batch).argmax(axis=1) != rows.labels
    return wrong


def blind_monthly(stream: TableStream, versions: Versions, first: Flags, days: float) -> Flags:
    """Which rows are answered wrongly where a model of the last so many days takes over on the first of each month.

    `first` says which ones the first version answers wrongly; nothing is compared. Every tenth row validates.
    """
    rows, wrong = versions.rows, first.copy()
    contract = versions.contract
    month = pd.PeriodIndex(stream.frame[stream.pipeline.roles.time], freq="M")
    for start in month[stream.days >= 0].unique()[1:]:
        begins = (start.start_time - pd.Timestamp(stream.begins.replace(tzinfo=None))).total_seconds() / DAY
        recent = np.flatnonzero((stream.days < begins) & (stream.days >= begins - days))
        if len(recent) < FEWEST_RECENT or len(np.unique(rows.labels[recent])) < 2:
            continue
        held = np.arange(len(recent)) % 10 == 0
        taught = rows.take(recent[~held])
        training = TableTraining(
            contract, taught, np.ones(len(taught), dtype=np.float32), rows.take(recent[held]), seed=0
        )
        exported = fit_table(stream.pipeline.train, training)
        answered = np.flatnonzero(month == start)
        engine = table_engine_from_bytes(exported.content, contract, threads=1)
        wrong[answered] = wrong_answers(engine, rows.take(answered))
    return wrong
