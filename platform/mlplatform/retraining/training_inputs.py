"""Reads what a candidate is made from: the champion to compare with, the labels, the recipe, the gate's policy."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from mlplatform.clock import EPOCH, Clock
from mlplatform.context import AppContext
from mlplatform.feedback.absent_labels import known_until
from mlplatform.promotion.promotion_history import Promotion, promotion_history
from mlplatform.promotion.promotion_service import PromotionService
from mlplatform.promotion.version_comparisons import known_label_maturity
from mlplatform.retraining.training_labels import (
    NO_LABELS,
    TrainingLabels,
    label_quotas,
    load_training_labels,
    retraining_policy,
)
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from monitors.rules.alerts_config import AlertsConfig
from pipelines.candidate.training_spec import TrainingSpec, load_champion
from pipelines.pipeline import Pipeline
from pipelines.recipe import Recipe
from registry.catalog import Catalog
from registry.gate.verdict import GatePolicy

MAX_PROMOTIONS: Final = 20
"""Of so many champions the labels may tell how late labels come."""


@dataclass(frozen=True)
class TrainingInputs:
    """What a candidate is made from: its specification, the labels it draws on, the champion it is compared with."""

    spec: TrainingSpec
    labels: TrainingLabels
    champion_version: int | None


@dataclass(frozen=True)
class TrainingInputsReader:
    """Reads them from store and registry; `load_rules` reads alerts.yaml."""

    settings: Settings
    clock: Clock
    database: Database
    catalog: Catalog
    promotions: PromotionService
    load_rules: Callable[[], AlertsConfig]
    model_cache: Path

    def select_recipe(self, pipeline: Pipeline, name: str | None = None) -> Recipe:
        """The recipe of this name, or the settings' one, or the pipeline's own."""
        return pipeline.recipe(name or self.settings.recipe or None)

    def read(
        self,
        pipeline: Pipeline,
        reason: str,
        recipe: Recipe | str | None,
        tags: dict[str, str],
        errors_since: datetime | None = None,
        *,
        use_labels: bool = True,
    ) -> TrainingInputs:
        """Read champion and labels, and write the specification of the candidate."""
        self.promotions.sync_quarantine_tags(pipeline.name, all_versions=True)  # the gate goes by the registry's tags
        current = self.promotions.current(pipeline.name)
        champion = None
        if current is not None:
            champion = load_champion(self.catalog, pipeline, current.to_version, self.model_cache)
        policy = retraining_policy(self.settings.alerts_file, self.load_rules, pipeline.name)
        labels = NO_LABELS
        if use_labels:
            rules = self.database, self.settings.alerts_file, self.load_rules
            until = matured_until(*rules, pipeline.name, self.clock())
            judge_until = delayed_judge_until(*rules, current, self.clock())
            filters = policy.group_by, policy.quotas.trusted, until, judge_until
            labels = load_training_labels(self.database, pipeline.name, pipeline.contract, *filters)
        spec = TrainingSpec(
            pipeline=pipeline,
            recipe=recipe if isinstance(recipe, Recipe) else self.select_recipe(pipeline, recipe),
            split=pipeline.load(self.settings.data_dir),
            feedback=labels.rows,
            champion=champion,
            seed=self.settings.seed,
            reason=reason,
            tags=tags,
            policy=GatePolicy(golden_margin=self.settings.gate_margin_points / 100),
            origins=labels.origins,
            quotas=label_quotas(policy),
            judging_shares=labels.judging_shares,
            blocks=labels.blocks(policy.block),
            group_tags=labels.groups,
            unusable=labels.unusable,
            recent_images=labels.inputs_since(errors_since),
            checkpoint_folder=self.settings.home / "checkpoints",
            device=self.settings.training_device,
            external_datasets=pipeline.external_datasets(self.settings.data_dir),
        )
        return TrainingInputs(spec, labels, None if current is None else current.to_version)


def matured_until(
    database: Database, alerts_file: Path, load_rules: Callable[[], AlertsConfig], model: str, now: datetime
) -> datetime | None:
    """Up to when answers have all their labels, where alerts.yaml says what their absence means; else None.

    Of later ones nearly all labels are of one kind, such as of those that left.
    """
    if not alerts_file.exists() or (rules := load_rules()).model != model or rules.absent is None:
        return None
    with database.read() as connection:
        return known_until(connection, model, rules.absent, now)


def delayed_judge_until(
    database: Database,
    alerts_file: Path,
    load_rules: Callable[[], AlertsConfig],
    promotion: Promotion | None,
    now: datetime,
) -> datetime | None:
    """Up to when answers are mature, so that their delayed labels may judge a candidate; None where all may.

    As old as the rules say, else as the labels of the champion come, or of those before it while its own are few. While
    nothing tells how late labels come, none judges: those that are there may be the errors, which are known first.
    Without a champion nothing is compared.
    """
    if promotion is None or not alerts_file.exists() or (rules := load_rules()).model != promotion.model_name:
        return None
    with database.read() as connection:
        served = [each.to_version for each in promotion_history(connection, promotion.model_name, MAX_PROMOTIONS)]
        versions = dict.fromkeys((promotion.to_version, *served))
        maturity = known_label_maturity(connection, rules, versions, now)
    return EPOCH if maturity is None else now - maturity


def training_inputs_reader(context: AppContext, promotions: PromotionService) -> TrainingInputsReader:
    """The reader of this process."""
    return TrainingInputsReader(
        context.settings,
        context.clock,
        context.database,
        context.catalog,
        promotions,
        lambda: context.rules,
        context.model_cache,
    )
