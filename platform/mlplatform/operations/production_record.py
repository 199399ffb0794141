"""What use has shown of a version, for its model card; it decides nothing and writes nothing."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from mlplatform.alerting import alert_records
from mlplatform.context import Parts
from mlplatform.feedback import outcomes
from mlplatform.predictions import prediction_counts
from mlplatform.promotion import promotion_history, quarantines
from monitors.windows.window_counts import LabelCount
from registry.card import Measured
from registry.gate.paired_comparison import exact_bounds

HEADER = ("Labels", "Count", "Right", "Weighed", "95 % interval", "What they say")
ESTIMATES = {
    "audit": "drawn at random: estimates accuracy where the draw was even",
    "delayed": "truth that came later: estimates accuracy",
    "review": "verdicts on picked answers: estimates nothing",
    "correction": "reported errors: estimates nothing",
}


def in_production(parts: Parts, version: int) -> Measured | None:
    """Answers, labels and events of a version since it was first promoted; None where it never answered."""
    name, now = parts.family.name, parts.clock()
    with parts.database.read() as connection:
        history = [each for each in reversed(promotion_history.history(connection, name)) if each.to_version == version]
        if not history:
            return None
        since = history[0].at
        answers = prediction_counts.answers(connection, name, version, since, now)
        labels = outcomes.counted(connection, name, version, since, now)
        quarantined = quarantines.current(connection, name).get(version)
        current = promotion_history.latest(connection, name)
        open_ones = alert_records.open_alerts(connection, name)
    if not answers:
        return None
    serving = current is not None and current.to_version == version
    state = "it is champion" if serving else "it is not champion"
    sentences = [f"Since {_written(since)} this version gave {answers} answers; {state} as of {_written(now)}."]
    if serving:
        names = sorted({alert.rule for alert in open_ones})
        sentences.append(f"Open alerts: {', '.join(names)}." if names else "No alert is open.")
    if quarantined is not None:
        sentences.append("It is in quarantine.")
    rows = _by_source(labels)
    if not rows:
        return Measured(" ".join([*sentences, "No label has come yet."]))
    sentences.append("Weighed: each label by one over the chance of its answer to be drawn. Intervals are exact.")
    return Measured(" ".join(sentences), HEADER, rows)


def _written(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _by_source(labels: Sequence[LabelCount]) -> tuple[tuple[str, ...], ...]:
    cells: dict[str, list[LabelCount]] = defaultdict(list)
    for cell in labels:
        if cell.weight > 0:
            cells[cell.source].append(cell)
    lines = []
    for source, each in sorted(cells.items()):
        total, right = sum(cell.n for cell in each), sum(cell.n for cell in each if cell.correct)
        mass = sum(cell.n * cell.weight for cell in each)
        weighed = sum(cell.n * cell.weight for cell in each if cell.correct) / mass
        low, high = exact_bounds(right, total, 0.025)
        even = len({cell.weight for cell in each}) == 1
        limits = f"{low:.4f} to {high:.4f}" if even else "see the rule's finding"
        lines.append((source, str(total), f"{right / total:.4f}", f"{weighed:.4f}", limits, ESTIMATES.get(source, "")))
    return tuple(lines)
