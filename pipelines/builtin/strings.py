"""The pipeline of handwritten amounts: strings of digits that are read whole."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pipelines.data import Split
from pipelines.pipeline import Pipeline
from pipelines.strings.amounts.amount_evaluation import AmountEvaluation
from pipelines.strings.amounts.amount_trainer import AmountRecipe, AmountTrainer
from pipelines.strings.amounts.canvas import HEIGHT, WIDTH
from pipelines.strings.string_alphabet import DIGITS
from registry.model_contract import ImageInputs, ModelContract
from registry.prediction_task import Sequence

LONGEST: Final = 9
FIRST_SHARE: Final = 0.5
"""A reader of strings that reads fewer is no use to begin with."""


def load_split(folder: Path | None) -> Split:
    """The scans of a folder that is kept as ORAND-CAR-A is; without one, strings drawn of the bundled digits."""
    # Drawing and image libraries take a moment to import, and only the loading needs them.
    from pipelines.strings.amounts.amount_examples import load_amounts

    return load_amounts(folder)


FINE_TUNE = AmountRecipe(
    name="fine-tune",
    steps=300,
    decay_steps=250,
    warmup_steps=20,
    learning_rate=5e-4,
    averaging=0.98,
    feedback_share=0.5,
)
FROM_SCRATCH = AmountRecipe(
    name="from-scratch", steps=12_000, decay_steps=3_000, warmup_steps=300, learning_rate=2e-3, warm_start=False
)

PIPELINE = Pipeline(
    name="strings",
    title="Handwritten amounts",
    contract=ModelContract(ImageInputs(HEIGHT, WIDTH), Sequence(DIGITS, LONGEST)),
    load=load_split,
    trainer=AmountTrainer(),
    evaluation=AmountEvaluation(),
    recipes={recipe.name: recipe for recipe in (FINE_TUNE, FROM_SCRATCH)},
    default_recipe=FINE_TUNE.name,
    first_accuracy=FIRST_SHARE,
    card={
        "intended_use": "Reading the digits of handwritten amounts of at most nine digits, cut out of their form, ink "
        "on paper, with a person for those of which the model is not sure.",
        "out_of_scope": "Words, letters, dates, amounts with cents that are no digits of the whole, several lines, and "
        "payments on a reading that nobody or nothing checks.",
        "factors": "Pen and scanner, slant, touching digits, the country's way to write one, seven and the dots of "
        "thousands, printed lines of the form.",
        "training_data": "The training part of a folder of labelled amounts, or strings drawn of the bundled digits; "
        "then labelled feedback from use. The kept model learnt ORAND-CAR-A's training part and drawn strings.",
        "evaluation_data": "A golden set, dealt by content hash, frozen and never trained on.",
        "ethics": "Handwriting and amounts belong to people: keep pictures no longer than needed. A misread amount "
        "moves somebody's money.",
        "caveats": "Folders name no writers, so golden rows share hands with training rows. Some labels of ORAND-CAR-A "
        "are wrong. Drawn strings are easier than scans.",
    },
)
