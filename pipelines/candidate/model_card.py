"""The model card's content, gathered from an order and its outcome; it renders no text and judges nothing."""

from typing import TYPE_CHECKING

from pipelines.candidate.candidate_report import BY_CLASS, Examination
from pipelines.data import ImageSet
from pipelines.evaluation.group_fairness import Fairness
from pipelines.training.network import parameter_count
from pipelines.training.training_loop import Fitted
from registry.calibration_metrics import BINS
from registry.card import Card, ClassLine, DataUse, FeedbackUse, Measured
from registry.gate.verdict import Verdict
from registry.run_provenance import installed_version

if TYPE_CHECKING:
    from pipelines.candidate.row_selection import Rows
    from pipelines.candidate.training_spec import Order

METRICS = (
    "golden_accuracy",
    "golden_f1_macro",
    "golden_nll",
    "golden_brier",
    "golden_calibration_error",
    "golden_calibration_error_debiased",
)
METRICS_NOTE = (
    "Measured on the golden set, which is frozen and never trained on. Accuracy lies between "
    "{low:.4f} and {high:.4f} with 95 % confidence (Wilson); the other intervals draw its rows again."
)
CONTACT = (
    "The people who run this platform: the history of promotions (`platform models list`) names who made a version "
    "champion, and why."
)
MOST_GROUPS = 12
"""Lines of one factor; where there are more groups, those that fared worst are shown."""


def describe(
    order: "Order",
    rows: "Rows",
    fitted: Fitted,
    found: Examination,
    verdict: Verdict,
    run_id: str,
    size_bytes: int,
) -> Card:
    """The card of a candidate; `registry.card.render` turns it into Markdown."""
    family, judgement = order.family, found.judgement
    scores = judgement.as_metrics("golden")
    limits = {f"golden_{name}": pair for name, pair in found.intervals.items()}
    return Card(
        name=family.name,
        summary=f"{family.title}: {judgement.accuracy:.2%} of {judgement.n} golden images read right. "
        f"Made because: {order.reason.rstrip('.')}.",
        license="apache-2.0",
        tags=("image-classification", family.name),
        details=_details(order, fitted, run_id, size_bytes),
        intended_use=f"{family.card['intended_use']}\n\nOut of scope: {family.card['out_of_scope']}",
        factors=family.card["factors"],
        metrics={name: scores[name] for name in METRICS},
        metrics_note=METRICS_NOTE.format(low=judgement.accuracy_low, high=judgement.accuracy_high),
        training_data=(_use("train", order.split.train), _use("validation", order.split.validation)),
        feedback=FeedbackUse.of(() if rows.new is None else rows.new.feedback_ids),
        evaluation_data=(
            _use("golden", order.split.golden),
            *((_use("held-back feedback", rows.held_back),) if rows.held_back is not None else ()),
        ),
        classes=tuple(
            ClassLine(score.name, score.n, int(judgement.confusion[index, index]), score.precision, score.f1)
            for index, score in enumerate(judgement.per_class)
        ),
        verdict=verdict,
        ethics=family.card["ethics"],
        caveats=family.card["caveats"],
        intervals={"golden_accuracy": (judgement.accuracy_low, judgement.accuracy_high), **limits},
        calibration=_calibration(found),
        fairness=_fairness(found),
        robustness=_robustness(found),
        latency=_latency(found, size_bytes),
        contact=family.card.get("contact", CONTACT),
    )


def _details(order: "Order", fitted: Fitted, run_id: str, size_bytes: int) -> dict[str, str]:
    champion = order.champion
    return {
        "Recipe": order.recipe.name,
        "Network": f"{parameter_count(fitted.network):,} parameters, {size_bytes / 1024:.0f} KiB on disk",
        "Input": f"one grey image of {order.family.height}×{order.family.width} pixels, from 0 to 1",
        "Output": f"probabilities of {', '.join(order.family.classes)}",
        "Epochs": f"{len(fitted.history)}, the best was {fitted.best_epoch}",
        "Seed": str(order.seed),
        "Compared with": "no champion yet" if champion is None else f"version {champion.version}",
        "MLflow run": run_id,
        "PyTorch": installed_version("torch"),
        "Licence": "Apache-2.0",
    }


def _calibration(found: Examination) -> Measured:
    judgement = found.judgement
    note = (
        f"The graph divides its logits by {found.temperature:g}, fitted on the validation set. On the golden set the "
        f"expected calibration error is {judgement.calibration_error:.4f} ({BINS} equally wide bins), "
        f"{judgement.calibration_error_debiased:.4f} as a root mean square over {BINS} equally full bins with what "
        "chance alone adds taken off."
    )
    rows = [
        (f"{b.low:.2f} to {b.high:.2f}", str(b.rows), f"{b.confidence:.3f}", f"{b.right / b.rows:.3f}")
        for b in found.bins
        if b.rows
    ]
    return Measured(note, ("Confidence", "Answers", "Mean confidence", "Share right"), tuple(rows))


def _fairness(found: Examination) -> Measured:
    sentences, rows = [], []
    for factor in found.fairness:
        sentences.append(_gap(factor))
        shown = sorted(factor.groups, key=lambda score: score.accuracy)[:MOST_GROUPS]
        for score in sorted(shown, key=lambda score: score.group):
            limits = f"{score.low:.4f} to {score.high:.4f}"
            differs = "yes" if score.differs else "no"
            rows.append((factor.factor, score.group, str(score.rows), f"{score.accuracy:.4f}", limits, differs))
    if len(found.fairness) == 1:
        sentences.append("Of who wrote the golden rows nothing is known, so no group of people could be compared.")
    sentences.append("Intervals are exact (Clopper-Pearson); groups differ by Fisher's exact test, Holm per factor.")
    header = ("Factor", "Group", "Rows", "Accuracy", "95 % interval", "Differs from the rest")
    return Measured(" ".join(sentences), header, tuple(rows))


def _gap(factor: Fairness) -> str:
    by = "true class" if factor.factor == BY_CLASS else factor.factor
    differing = [each.group for each in factor.groups if each.differs]
    text = (
        f"By {by}: {len(factor.groups)} groups, gap between best and worst {100 * factor.gap:.2f} points "
        f"({100 * factor.gap_low:.2f} to {100 * factor.gap_high:.2f}); "
        + (f"read differently from the rest: {', '.join(differing)}." if differing else "no group is proved different.")
    )
    if factor.cells:
        text += f" Of {len(factor.cells)} classes within groups {sum(c.differs for c in factor.cells)} are."
    if factor.tail is not None:
        text += (
            f" The worst tenth of {by}s reaches {factor.tail.accuracy:.4f}; chance alone would show "
            f"{factor.tail.chance_low:.4f} to {factor.tail.chance_high:.4f} (p {factor.tail.p_value:.3f})."
        )
    return text


def _robustness(found: Examination) -> Measured:
    rows = [
        (each.kind, f"{each.level:g}", str(each.rows), f"{each.accuracy:.3f}", "{:.3f} to {:.3f}".format(*each.limits))
        for each in found.robustness
    ]
    rows += [
        (f"other data: {name}", "", str(j.n), f"{j.accuracy:.3f}", f"{j.accuracy_low:.3f} to {j.accuracy_high:.3f}")
        for name, j in found.elsewhere
    ]
    note = (
        "On golden rows drawn by hash: corruptions at level 1 (mild) and 3 (strong), and attacks that know the model "
        "(fgsm: one step, pgd: ten), their level being the most that a pixel changes, of 1. No defence is claimed."
    )
    if not found.elsewhere:
        note += " No other data set was at hand."
    return Measured(note, ("Harm", "Level", "Rows", "Accuracy", "95 % interval"), tuple(rows))


def _latency(found: Examination, size_bytes: int) -> Measured:
    rows = (
        ("p50, one image", f"{found.latency_ms[0]:.2f} ms"),
        ("p95, one image", f"{found.latency_ms[1]:.2f} ms"),
        ("Size on disk", f"{size_bytes / 1024:.0f} KiB"),
    )
    note = (
        "The exported graph on the CPU that trained it, decoding not included; each server measures its own baseline."
    )
    return Measured(note, ("Measure", "Value"), rows)


def _use(role: str, rows: ImageSet) -> DataUse:
    return DataUse(role, rows.name, rows.digest, len(rows))
