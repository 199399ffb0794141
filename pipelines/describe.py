"""The model card's content, gathered from an order and its outcome; it renders no text and judges nothing."""

from typing import TYPE_CHECKING

from pipelines.data import ImageSet
from pipelines.evaluate import Judgement
from pipelines.model import parameter_count
from pipelines.train import Fitted
from registry.card import Card, ClassLine, DataUse, FeedbackUse
from registry.gate import Verdict
from registry.provenance import installed_version

if TYPE_CHECKING:
    from pipelines.retrain import Order, Rows

METRICS = ("golden_accuracy", "golden_f1_macro", "golden_nll", "golden_calibration_error")
METRICS_NOTE = (
    "Measured on the golden set, which is frozen and never trained on. Accuracy lies between "
    "{low:.4f} and {high:.4f} with 95 % confidence (Wilson)."
)


def describe(
    order: "Order",
    rows: "Rows",
    fitted: Fitted,
    judgement: Judgement,
    verdict: Verdict,
    run_id: str,
    size_bytes: int,
) -> Card:
    """The card of a candidate; `registry.card.render` turns it into Markdown."""
    family, scores = order.family, judgement.as_metrics("golden")
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


def _use(role: str, rows: ImageSet) -> DataUse:
    return DataUse(role, rows.name, rows.digest, len(rows))
