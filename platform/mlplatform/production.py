"""What use has shown of a version, for its model card; it decides nothing and writes nothing."""

from collections import defaultdict
from collections.abc import Sequence

from mlplatform.build import Parts
from mlplatform.store import alerts, judged, promotions, quarantines, tallies
from monitors.tally import LabelCount
from registry.card import Measured
from registry.paired import exact_bounds

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
        history = [each for each in reversed(promotions.history(connection, name)) if each.to_version == version]
        if not history:
            return None
        since = history[0].at
        answers = tallies.answers(connection, name, version, since, now)
        labels = judged.counted(connection, name, version, since, now)
        quarantined = quarantines.current(connection, name).get(version)
        current = promotions.latest(connection, name)
        open_ones = alerts.open_alerts(connection, name)
    if not answers:
        return None
    serving = current is not None and current.to_version == version
    sentences = [
        f"Since {since:%Y-%m-%d %H:%M} UTC this version gave {answers} answers.",
        f"As of {now:%Y-%m-%d %H:%M} UTC it is {'' if serving else 'not '}champion.",
    ]
    if serving:
        names = sorted({alert.rule for alert in open_ones})
        sentences.append(f"Open alerts: {', '.join(names)}." if names else "No alert is open.")
    if quarantined is not None:
        sentences.append("It is in quarantine.")
    sentences.append(
        "Right answers weigh one over their chance to be drawn; intervals are exact and count labels alike."
    )
    rows = _by_source(labels)
    if not rows:
        return Measured(" ".join([*sentences[:-1], "No label has come yet."]))
    return Measured(
        " ".join(sentences), ("Labels", "Count", "Right", "Weighed", "95 % interval", "What they say"), rows
    )


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
