"""Loads what the comparison of two versions is decided by: answers on which they differ, with what their labels say.

The population is the predictions that the other version was asked about; `trial_id` names the comparison.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, RowMapping, case, func, select

from mlplatform.feedback.label_precedence import ESTIMATION_SOURCES
from mlplatform.feedback.label_records import ABSENT_REVIEWER
from mlplatform.feedback.outcomes import label_lags_before
from mlplatform.predictions import sampling_plans, shadow_predictions
from mlplatform.store.tables.feedback import feedback, outcomes
from mlplatform.store.tables.predictions import predictions, review_samples, shadow_prediction_rows
from monitors.decisions.detectors.outcome_blocks import last_closed_moment
from monitors.decisions.version_comparison import (
    ComparisonTerms,
    DifferingAnswer,
    VersionComparison,
    compare_versions,
    is_settled,
)
from monitors.rules.alerts_config import AlertsConfig
from monitors.rules.block_unit import BlockUnit
from monitors.statistics.label_maturity import derived_maturity
from monitors.statistics.review_sampling import DISAGREEMENT_STRATUM, SamplingPlan, stratum_of
from registry.model_contract import Truth

DEFAULT_MATURITY: Final = timedelta(days=7)
"""How old an answer is when its delayed label has come, while too few labels tell how late they come."""


def probation_trial_id(promotion_seq: int) -> str:
    """The name under which a probation keeps what the version before said."""
    return f"{shadow_predictions.PROBATION_TRIAL}{promotion_seq}"


def load_comparison(
    connection: Connection,
    trial_id: str,
    new_version: int,
    terms: ComparisonTerms,
    unit: BlockUnit,
    now: datetime,
    truth: Truth = "input",
) -> tuple[VersionComparison, bool]:
    """How a comparison stands, and whether every label that it waits for has come or is given up.

    `truth` is of the input where equal inputs have one truth.
    """
    answers = differing_answers(connection, trial_id, new_version, terms.started_at, unit, truth)
    compared, _ = shadow_predictions.count_compared(connection, trial_id, now + timedelta(seconds=1))
    mature, _ = shadow_predictions.count_compared(connection, trial_id, now - terms.mature)
    return compare_versions(answers, compared, mature, terms, now), is_settled(answers, terms, now)


def differing_answers(
    connection: Connection, trial_id: str, new_version: int, started_at: datetime, unit: BlockUnit, truth: Truth
) -> list[DifferingAnswer]:
    """The answers on which the versions differ, each of what has a truth of its own once.

    A picture that is sent again says nothing new; of two events with equal inputs each has its own truth.
    """
    names = (
        "id",
        "at",
        "model_name",
        "model_version",
        "image_hash",
        "request_id",
        "client_id",
        "tags",
        "confidence",
        "label_class",
    )
    query = (
        select(
            *(predictions.c[name] for name in names),
            predictions.c.label.label("served_label"),
            shadow_prediction_rows.c.label.label("other_label"),
            review_samples.c.inclusion,
            outcomes.c.truth,
        )
        .select_from(shadow_prediction_rows)
        .join(predictions, predictions.c.id == shadow_prediction_rows.c.prediction_id)
        .outerjoin(review_samples, review_samples.c.prediction_id == predictions.c.id)
        .outerjoin(outcomes, outcomes.c.prediction_id == predictions.c.id)
        .where(shadow_prediction_rows.c.trial_id == trial_id, shadow_prediction_rows.c.label != predictions.c.label)
        .order_by(predictions.c.at, predictions.c.id)
    )
    rows: dict[str, RowMapping] = {}
    for row in connection.execute(query).mappings():
        rows.setdefault(row["image_hash"] if truth == "input" else row["id"], row)
    received = _received_at(connection, trial_id)
    chances = {
        (model, version): InclusionChances(connection, model, version, started_at)
        for model, version in {(row["model_name"], row["model_version"]) for row in rows.values()}
    }
    return [
        _differing_answer(row, new_version, received[row["id"]], chances[row["model_name"], row["model_version"]], unit)
        for row in rows.values()
    ]


class InclusionChances:
    """With which chance each differing answer of a version was drawn for review, by the plan of its time."""

    def __init__(self, connection: Connection, model_name: str, version: int, since: datetime) -> None:
        published = sampling_plans.plans_since(connection, model_name, version, since)
        self._times = [plan.at for plan in published]
        self._plans = [SamplingPlan.from_json(plan.plan) for plan in published]
        self._asks_for_difference = any(plan.differing for plan in self._plans)

    def of(self, row: RowMapping) -> float | None:
        """The chance; 0 for an answer that says nothing of the rest; None where nothing was drawn at that time.

        Where answers that differ are drawn with a chance of their own, those of the minutes before say too little.
        """
        place = bisect_right(self._times, row["at"]) - 1
        if place < 0:
            return None
        plan = self._plans[place]
        if self._asks_for_difference and not plan.differing:
            return 0.0
        stratum = stratum_of(row["label_class"] or row["served_label"], row["confidence"])
        chance = max(plan.differing, plan.chance(stratum))
        return plan.inclusion(DISAGREEMENT_STRATUM if plan.differing else stratum, chance)


def label_maturity(connection: Connection, rules: AlertsConfig, versions: Iterable[int], before: datetime) -> timedelta:
    """How old answers must be for their delayed labels to count; DEFAULT_MATURITY where nothing tells.

    Only where an answer without a label counts for the new version does a guess that is too short do no harm.
    """
    known = known_label_maturity(connection, rules, versions, before)
    return DEFAULT_MATURITY if known is None else known


def known_label_maturity(
    connection: Connection, rules: AlertsConfig, versions: Iterable[int], before: datetime
) -> timedelta | None:
    """The same as a rule says, else by how late a version's labels came; None while it cannot be told.

    The first of the versions of which enough are known tells: of a new one only the labels that came soon are.
    """
    said = next(
        (rule.mature for rule in rules.rules if rule.metric == "accuracy_drop" and rule.mature is not None), None
    )
    if said is not None:
        return said
    if rules.absent is not None:
        return rules.absent.mature
    for version in versions:
        if (
            found := derived_maturity(label_lags_before(connection, rules.model, [version], before), before)
        ) is not None:
            return found
    return None


def _received_at(connection: Connection, trial_id: str) -> dict[str, dict[str, datetime]]:
    """By prediction and source, when the first label that estimates came; one of absence in time, however late."""
    came_at = case((feedback.c.reviewer == ABSENT_REVIEWER, feedback.c.at), else_=feedback.c.received_at)
    query = (
        select(feedback.c.prediction_id, feedback.c.source, func.min(came_at).label("received_at"))
        .join(shadow_prediction_rows, shadow_prediction_rows.c.prediction_id == feedback.c.prediction_id)
        .where(shadow_prediction_rows.c.trial_id == trial_id, feedback.c.source.in_(ESTIMATION_SOURCES))
        .group_by(feedback.c.prediction_id, feedback.c.source)
    )
    received: dict[str, dict[str, datetime]] = defaultdict(dict)
    for row in connection.execute(query):
        received[row.prediction_id][row.source] = row.received_at
    return received


def _differing_answer(
    row: RowMapping, new_version: int, received: dict[str, datetime], chances: InclusionChances, unit: BlockUnit
) -> DifferingAnswer:
    new_label, old_label = row["served_label"], row["other_label"]
    if row["model_version"] != new_version:
        new_label, old_label = old_label, new_label
    is_labelled = bool(received) and row["truth"] is not None
    reviewed_at = received.get("audit") if is_labelled else None
    chance, is_drawn = chances.of(row), row["inclusion"] is not None
    if chance is None:  # nothing is drawn, so every audit label counts alike
        chance, is_drawn = float(reviewed_at is not None), reviewed_at is not None
    elif is_drawn and chance:
        chance = row["inclusion"]
    return DifferingAnswer(
        at=row["at"],
        block=_block_of(row, unit),
        closes_at=row["at"] if unit.period is None else last_closed_moment(unit, row["at"]) + unit.period,
        difference=int(old_label == row["truth"]) - int(new_label == row["truth"]) if is_labelled else None,
        weight=1 / chance if chance else 0.0,
        is_drawn=is_drawn and chance > 0,
        reviewed_at=reviewed_at,
        delayed_at=received.get("delayed") if is_labelled else None,
    )


def _block_of(row: RowMapping, unit: BlockUnit) -> str:
    """The block that an answer belongs to; its request where it has not what the unit asks for."""
    request = f"request {row['request_id'] or row['id']}"
    period = "" if unit.period is None else last_closed_moment(unit, row["at"]).isoformat()
    match unit.kind:
        case "client-hour":
            return f"{period} {row['client_id']}"
        case "entity":
            return f"{period} {(row['tags'] or {}).get(unit.tag) or request}"
        case "period":
            return period
        case "label":
            return str(row["id"])
    return request
