"""Builds the content of a candidate's model card from its training and its evaluation."""

from typing import TYPE_CHECKING

from pipelines.candidate.candidate_report import BY_CLASS, CandidateReport
from pipelines.data import ImageSet
from pipelines.evaluation.group_fairness import FactorFairness
from pipelines.training.network import parameter_count
from pipelines.training.training_loop import TrainingResult
from registry.calibration_metrics import BINS
from registry.card import CardSection, ClassResult, DataUse, FeedbackUse, ModelCard
from registry.gate.verdict import Verdict
from registry.runs import installed_version

if TYPE_CHECKING:
    from pipelines.candidate.row_selection import Rows
    from pipelines.candidate.training_spec import TrainingSpec

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
MAX_GROUPS = 12
"""Lines of one factor; where there are more groups, those that fared worst are shown."""


def build_card(
    spec: "TrainingSpec",
    selection: "Rows",
    result: TrainingResult,
    report: CandidateReport,
    verdict: Verdict,
    run_id: str,
    size_bytes: int,
) -> ModelCard:
    """The card of a candidate; `registry.card.render_card` turns it into Markdown."""
    pipeline, judgement = spec.pipeline, report.scores
    scores = judgement.as_metrics("golden")
    limits = {f"golden_{name}": pair for name, pair in report.intervals.items()}
    return ModelCard(
        name=pipeline.name,
        summary=f"{pipeline.title}: {judgement.accuracy:.2%} of {judgement.n} golden images read right. "
        f"Made because: {spec.reason.rstrip('.')}.",
        license="apache-2.0",
        tags=("image-classification", pipeline.name),
        details=_details(spec, result, run_id, size_bytes),
        intended_use=f"{pipeline.card['intended_use']}\n\nOut of scope: {pipeline.card['out_of_scope']}",
        factors=pipeline.card["factors"],
        metrics={name: scores[name] for name in METRICS},
        metrics_note=METRICS_NOTE.format(low=judgement.accuracy_low, high=judgement.accuracy_high),
        training_data=(_data_use("train", spec.split.train), _data_use("validation", spec.split.validation)),
        feedback=FeedbackUse.of(() if selection.feedback is None else selection.feedback.feedback_ids),
        evaluation_data=(
            _data_use("golden", spec.split.golden),
            *((_data_use("held-back feedback", selection.holdout),) if selection.holdout is not None else ()),
        ),
        classes=tuple(
            ClassResult(score.name, score.n, int(judgement.confusion[index, index]), score.precision, score.f1)
            for index, score in enumerate(judgement.per_class)
        ),
        verdict=verdict,
        ethics=pipeline.card["ethics"],
        caveats=pipeline.card["caveats"],
        intervals={"golden_accuracy": (judgement.accuracy_low, judgement.accuracy_high), **limits},
        calibration=_calibration(report),
        fairness=_fairness(report),
        robustness=_robustness(report),
        latency=_latency(report, size_bytes),
        contact=pipeline.card.get("contact", CONTACT),
    )


def _details(spec: "TrainingSpec", result: TrainingResult, run_id: str, size_bytes: int) -> dict[str, str]:
    champion = spec.champion
    return {
        "Recipe": spec.recipe.name,
        "Network": f"{parameter_count(result.network):,} parameters, {size_bytes / 1024:.0f} KiB on disk",
        "Input": f"one grey image of {spec.pipeline.height}×{spec.pipeline.width} pixels, from 0 to 1",
        "Output": f"probabilities of {', '.join(spec.pipeline.classes)}",
        "Epochs": f"{len(result.history)}, the best was {result.best_epoch}",
        "Seed": str(spec.seed),
        "Compared with": "no champion yet" if champion is None else f"version {champion.version}",
        "MLflow run": run_id,
        "PyTorch": installed_version("torch"),
        "Licence": "Apache-2.0",
    }


def _calibration(report: CandidateReport) -> CardSection:
    judgement = report.scores
    note = (
        f"The graph divides its logits by {report.temperature:g}, fitted on the validation set. On the golden set the "
        f"expected calibration error is {judgement.calibration_error:.4f} ({BINS} equally wide bins), "
        f"{judgement.calibration_error_debiased:.4f} as a root mean square over {BINS} equally full bins with what "
        "chance alone adds taken off."
    )
    rows = [
        (f"{b.low:.2f} to {b.high:.2f}", str(b.rows), f"{b.confidence:.3f}", f"{b.correct / b.rows:.3f}")
        for b in report.bins
        if b.rows
    ]
    return CardSection(note, ("Confidence", "Answers", "Mean confidence", "Share right"), tuple(rows))


def _fairness(report: CandidateReport) -> CardSection:
    sentences, rows = [], []
    for factor in report.fairness:
        sentences.append(_gap_sentence(factor))
        shown = sorted(factor.groups, key=lambda score: score.accuracy)[:MAX_GROUPS]
        for score in sorted(shown, key=lambda score: score.group):
            limits = f"{score.low:.4f} to {score.high:.4f}"
            differs = "yes" if score.differs else "no"
            rows.append((factor.factor, score.group, str(score.rows), f"{score.accuracy:.4f}", limits, differs))
    if len(report.fairness) == 1:
        sentences.append("Of who wrote the golden rows nothing is known, so no group of people could be compared.")
    sentences.append("Intervals are exact (Clopper-Pearson); groups differ by Fisher's exact test, Holm per factor.")
    header = ("Factor", "Group", "Rows", "Accuracy", "95 % interval", "Differs from the rest")
    return CardSection(" ".join(sentences), header, tuple(rows))


def _gap_sentence(factor: FactorFairness) -> str:
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


def _robustness(report: CandidateReport) -> CardSection:
    rows = [
        (
            each.kind,
            f"{each.level:g}",
            str(each.rows),
            f"{each.accuracy:.3f}",
            "{:.3f} to {:.3f}".format(*each.interval),
        )
        for each in report.robustness
    ]
    rows += [
        (f"other data: {name}", "", str(j.n), f"{j.accuracy:.3f}", f"{j.accuracy_low:.3f} to {j.accuracy_high:.3f}")
        for name, j in report.external_datasets
    ]
    note = (
        "On golden rows drawn by hash: corruptions at level 1 (mild) and 3 (strong), and attacks that know the model "
        "(fgsm: one step, pgd: ten), their level being the most that a pixel changes, of 1. No defence is claimed."
    )
    if not report.external_datasets:
        note += " No other data set was at hand."
    return CardSection(note, ("Harm", "Level", "Rows", "Accuracy", "95 % interval"), tuple(rows))


def _latency(report: CandidateReport, size_bytes: int) -> CardSection:
    rows = (
        ("p50, one image", f"{report.latency_ms[0]:.2f} ms"),
        ("p95, one image", f"{report.latency_ms[1]:.2f} ms"),
        ("Size on disk", f"{size_bytes / 1024:.0f} KiB"),
    )
    note = (
        "The exported graph on the CPU that trained it, decoding not included; each server measures its own baseline."
    )
    return CardSection(note, ("Measure", "Value"), rows)


def _data_use(role: str, rows: ImageSet) -> DataUse:
    return DataUse(role, rows.name, rows.digest, len(rows))
