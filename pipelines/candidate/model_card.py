"""Builds the content of a candidate's model card from its training and its evaluation."""

from typing import TYPE_CHECKING

import numpy as np

from pipelines.answers import answer_reader
from pipelines.candidate.candidate_report import BY_CLASS, CandidateReport
from pipelines.data import Examples
from pipelines.evaluation.classification_scores import wilson_interval
from pipelines.evaluation.group_fairness import FactorFairness
from pipelines.evaluation.risk_coverage import AcceptedShare
from pipelines.input_evaluation import CardTexts, ColumnEffects, PartialDependence
from pipelines.trainer import TrainedModel
from registry.calibration_metrics import BINS
from registry.card import CardSection, ClassResult, DataUse, FeedbackUse, ModelCard
from registry.gate.verdict import Verdict

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
MAX_CARD_COLUMNS = 20
"""Lines of the section on columns, those that matter most."""
NO_RISE = "none; for these rows only"
"""Limits where each deal of a value added the same, most often nothing: no row tells how others would vary."""
COLUMNS_NOTE = (
    "Asked of the exported graph, on {rows} golden rows drawn by hash. A column's values were dealt to other rows, "
    "{repeats} times: the mean loss (0 to 1; a mistake costs what the task says, else 1) rises by as much as the model "
    "relies on them. Columns that tell the same cover for each other, and both seem unimportant. Limits hold with 95 % "
    "for all columns together (Bonferroni, Student's t) where many observations have each value; {observation} is one "
    "observation, as receiver and as donor of values. The last entries say how "
    "the mean probability of a class depends on the column's value, all else as it is (partial dependence; "
    "`figures/partial_dependence.png` and `tables/partial_dependence.json` of the run): of two classes the second, of "
    "more the one that moves most. That describes the model, and is no cause of anything."
)
MAX_GROUPS = 12
"""Lines of one factor; where there are more groups, those that fared worst are shown."""


def build_card(
    spec: "TrainingSpec",
    selection: "Rows",
    trained: TrainedModel,
    report: CandidateReport,
    verdict: Verdict,
    run_id: str,
) -> ModelCard:
    """The card of a candidate; `registry.card.render_card` turns it into Markdown."""
    pipeline, judgement, texts = spec.pipeline, report.scores, spec.pipeline.evaluation.texts
    scores = judgement.as_metrics("golden")
    limits = {f"golden_{name}": pair for name, pair in report.intervals.items()}
    return ModelCard(
        name=pipeline.name,
        summary=f"{pipeline.title}: {judgement.accuracy:.2%} of {judgement.n} golden {texts.row}s {texts.answered} "
        "right. "
        f"Made because: {spec.reason.rstrip('.')}.",
        license="apache-2.0",
        task=texts.tag,
        tags=(texts.tag, pipeline.name),
        details=_details(spec, trained, run_id),
        intended_use=f"{pipeline.card['intended_use']}\n\nOut of scope: {pipeline.card['out_of_scope']}",
        factors=pipeline.card["factors"],
        metrics={name: scores[name] for name in METRICS},
        metrics_note=METRICS_NOTE.format(low=judgement.accuracy_low, high=judgement.accuracy_high),
        training_data=tuple(
            _data_use(role, rows)
            for role, rows in (("train", spec.split.train), ("validation", spec.split.validation))
            if len(rows)
        ),
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
        fairness=_fairness(report, texts),
        robustness=_robustness(report, texts),
        latency=_latency(report, trained.size_bytes, texts),
        contact=pipeline.card.get("contact", CONTACT),
        columns=None if report.columns is None else _columns(report.columns, pipeline.classes),
    )


def _details(spec: "TrainingSpec", trained: TrainedModel, run_id: str) -> dict[str, str]:
    champion = spec.champion
    return {
        "Recipe": spec.recipe.name,
        **trained.model_details,
        "Input": spec.pipeline.evaluation.describe(spec.pipeline.contract),
        "Output": answer_reader(spec.pipeline.contract.task).description,
        **trained.training_details,
        "Seed": str(spec.seed),
        "Compared with": "no champion yet" if champion is None else f"version {champion.version}",
        "MLflow run": run_id,
        **trained.software,
        "Licence": "Apache-2.0",
    }


def _calibration(report: CandidateReport) -> CardSection:
    judgement = report.scores
    fitted = (
        ""
        if report.temperature is None
        else f"The graph divides its logits by {report.temperature:g}, fitted on the validation set. "
    )
    note = (
        f"{fitted}On the golden set the "
        f"expected calibration error is {judgement.calibration_error:.4f} ({BINS} equally wide bins), "
        f"{judgement.calibration_error_debiased:.4f} as a root mean square over {BINS} equally full bins with what "
        "chance alone adds taken off. "
        + " ".join(_accepted_sentence(each) for each in report.accepted)
        + " The thresholds were chosen on these rows, which flatters them."
    )
    rows = [
        (f"{b.low:.2f} to {b.high:.2f}", str(b.rows), f"{b.confidence:.3f}", f"{b.correct / b.rows:.3f}")
        for b in report.bins
        if b.rows
    ]
    return CardSection(note, ("Confidence", "Answers", "Mean confidence", "Share right"), tuple(rows))


def _accepted_sentence(share: AcceptedShare) -> str:
    """How many answers may be accepted unseen at such an error, and how far the rows prove it.

    The threshold is given whole: one rounded down accepts answers that were not counted, one rounded up none that were.
    """
    if not share.accepted:
        return f"At an error of at most {share.risk:.1%} no answer may be accepted unseen."
    low, high = share.limits
    return (
        f"At an error of at most {share.risk:.1%} {share.share:.1%} of the answers may be accepted unseen "
        f"({low:.1%} to {high:.1%}), those with a confidence of {share.threshold!r} or more: {share.wrong} of "
        f"{share.accepted} are wrong, by the 95 % interval up to {share.error_limits[1]:.2%} in the long run."
    )


def _fairness(report: CandidateReport, texts: CardTexts) -> CardSection:
    sentences, rows = [], []
    for factor in report.fairness:
        sentences.append(_gap_sentence(factor, texts))
        shown = sorted(factor.groups, key=lambda score: score.accuracy)[:MAX_GROUPS]
        for score in sorted(shown, key=lambda score: score.group):
            limits = f"{score.low:.4f} to {score.high:.4f}"
            differs = "yes" if score.differs else "no"
            rows.append((factor.factor, score.group, str(score.rows), f"{score.accuracy:.4f}", limits, differs))
    if len(report.fairness) == 1:
        sentences.append(texts.no_groups)
    sentences.append(
        "Intervals are exact (Clopper-Pearson), each by itself; groups differ by Fisher's exact test, Holm per factor, "
        f"every {texts.row} counting singly."
    )
    header = ("Factor", "Group", "Rows", "Accuracy", "95 % interval", "Differs from the rest")
    return CardSection(" ".join(sentences), header, tuple(rows))


def _gap_sentence(factor: FactorFairness, texts: CardTexts) -> str:
    by = "true class" if factor.factor == BY_CLASS else factor.factor
    differing = [each.group for each in factor.groups if each.differs]
    text = (
        f"By {by}: {len(factor.groups)} groups, gap between best and worst {100 * factor.gap:.2f} points "
        f"({100 * factor.gap_low:.2f} to {100 * factor.gap_high:.2f}); "
        + (
            f"{texts.answered} differently from the rest: {', '.join(differing)}."
            if differing
            else "no group is proved different."
        )
    )
    if factor.cells:
        text += f" Of {len(factor.cells)} classes within groups {sum(c.differs for c in factor.cells)} are."
    if factor.tail is not None:
        text += (
            f" The worst tenth of {by}s reaches {factor.tail.accuracy:.4f}; chance alone would show "
            f"{factor.tail.chance_low:.4f} to {factor.tail.chance_high:.4f} (p {factor.tail.p_value:.3f})."
        )
    return text


def _robustness(report: CandidateReport, texts: CardTexts) -> CardSection:
    rows = [
        (
            each.kind,
            f"{each.level:g}",
            str(each.rows),
            f"{each.accuracy:.3f}",
            "{:.3f} to {:.3f}".format(*wilson_interval(each.correct, each.rows)),
            "" if each.changed is None else str(each.changed),
        )
        for each in report.robustness
    ]
    rows += [
        (f"other data: {name}", "", str(j.n), f"{j.accuracy:.3f}", f"{j.accuracy_low:.3f} to {j.accuracy_high:.3f}", "")
        for name, j in report.external_datasets
    ]
    header = ("Harm", "Level", "Rows", "Accuracy", "95 % interval", "Answers changed")
    shown = len(header) - all(each.changed is None for each in report.robustness)
    note = f"On golden rows drawn by hash: {texts.robustness}"
    if not report.external_datasets:
        note += " No other data set was at hand."
    return CardSection(note, header[:shown], tuple(row[:shown] for row in rows))


def _columns(effects: ColumnEffects, classes: tuple[str, ...]) -> CardSection:
    dependence = {each.column: each for each in effects.dependence}
    rows = []
    for each in effects.importance[:MAX_CARD_COLUMNS]:
        known = dependence.get(each.column)
        rows.append(
            (
                each.column,
                f"{each.added_loss:.4f}",
                NO_RISE if each.low == each.high else f"{each.low:.4f} to {each.high:.4f}",
                f"{100 * each.changed_share:.1f} %",
                *(("", "", "") if known is None else _dependence_cells(known, classes)),
            )
        )
    observation = "a row" if effects.blocks is None else f"each of {effects.blocks} stretches of time"
    note = COLUMNS_NOTE.format(rows=effects.rows, repeats=effects.repeats, observation=observation)
    if len(effects.importance) > len(rows):
        note += f" Of {len(effects.importance)} columns, these matter most."
    header = ("Column", "Loss added", "Limits", "Answers changed", "Class", "Least likely", "Likeliest")
    return CardSection(note, header, tuple(rows))


def _dependence_cells(known: PartialDependence, classes: tuple[str, ...]) -> tuple[str, str, str]:
    """The class whose mean probability moves most (of two the second), and where it is least and most likely."""
    moved = 1 if len(classes) == 2 else int(np.ptp(known.probabilities, axis=0).argmax())
    shares = known.probabilities[:, moved]
    ends = (int(shares.argmin()), int(shares.argmax()))
    least, most = (f"{shares[place]:.3f} at {known.values[place]}" for place in ends)
    return classes[moved], least, most


def _latency(report: CandidateReport, size_bytes: int, texts: CardTexts) -> CardSection:
    rows = (
        (f"p50, one {texts.row}", f"{report.latency_ms[0]:.2f} ms"),
        (f"p95, one {texts.row}", f"{report.latency_ms[1]:.2f} ms"),
        ("Size on disk", f"{size_bytes / 1024:.0f} KiB"),
    )
    note = (
        "The exported graph on the CPU that trained it, decoding not included; each server measures its own baseline."
    )
    return CardSection(note, ("Measure", "Value"), rows)


def _data_use(role: str, rows: Examples) -> DataUse:
    return DataUse(role, rows.name, rows.digest, len(rows))
