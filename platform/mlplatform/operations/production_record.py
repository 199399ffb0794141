"""Reads what production has shown of a version, as a section of its model card."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from mlplatform.alerting import alert_records
from mlplatform.context import AppContext
from mlplatform.feedback import outcome_counts
from mlplatform.predictions import prediction_counts
from mlplatform.promotion import promotion_history, quarantines
from monitors.windows.window_counts import LabelCount
from registry.card import CardSection
from registry.gate.paired_comparison import exact_bounds

TABLE_HEADER = ("Labels", "Count", "Right", "Weighed", "95 % interval", "What they say")
SOURCE_NOTES = {
    "audit": "drawn at random: estimates accuracy where the draw was even",
    "delayed": "truth that came later: estimates accuracy",
    "review": "verdicts on picked answers: estimates nothing",
    "correction": "reported errors: estimates nothing",
}


def production_record(context: AppContext, version: int) -> CardSection | None:
    """Predictions, labels and events of a version since it was first promoted; None where it never answered."""
    name, now = context.model_name, context.clock()
    with context.database.read() as connection:
        history = [
            promotion
            for promotion in reversed(promotion_history.promotion_history(connection, name))
            if promotion.to_version == version
        ]
        if not history:
            return None
        since = history[0].at
        answers = prediction_counts.prediction_total(connection, name, version, since, now)
        labels = outcome_counts.window_label_counts(connection, name, version, since, now)
        quarantined = quarantines.quarantined_versions(connection, name).get(version)
        current = promotion_history.latest_promotion(connection, name)
        open_alerts = alert_records.open_alerts(connection, name)
    if not answers:
        return None
    serving = current is not None and current.to_version == version
    state = "it is champion" if serving else "it is not champion"
    sentences = [f"Since {_format_time(since)} this version gave {answers} answers; {state} as of {_format_time(now)}."]
    if serving:
        names = sorted({alert.rule for alert in open_alerts})
        sentences.append(f"Open alerts: {', '.join(names)}." if names else "No alert is open.")
    if quarantined is not None:
        sentences.append("It is in quarantine.")
    rows = _rows_by_source(labels)
    if not rows:
        return CardSection(" ".join([*sentences, "No label has come yet."]))
    sentences.append("Weighed: each label by one over the chance of its answer to be drawn. Intervals are exact.")
    return CardSection(" ".join(sentences), TABLE_HEADER, rows)


def _format_time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _rows_by_source(labels: Sequence[LabelCount]) -> tuple[tuple[str, ...], ...]:
    cells: dict[str, list[LabelCount]] = defaultdict(list)
    for cell in labels:
        if cell.weight > 0:
            cells[cell.source].append(cell)
    rows = []
    for source, counts in sorted(cells.items()):
        total, right = sum(cell.n for cell in counts), sum(cell.n for cell in counts if cell.correct)
        mass = sum(cell.n * cell.weight for cell in counts)
        weighted = sum(cell.n * cell.weight for cell in counts if cell.correct) / mass
        low, high = exact_bounds(right, total, 0.025)
        same_weight = len({cell.weight for cell in counts}) == 1
        limits = f"{low:.4f} to {high:.4f}" if same_weight else "see the rule's finding"
        rows.append(
            (source, str(total), f"{right / total:.4f}", f"{weighted:.4f}", limits, SOURCE_NOTES.get(source, ""))
        )
    return tuple(rows)
