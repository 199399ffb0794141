"""The pipeline of handwritten digits, zero to nine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.data import Examples, Split, split_by_group, split_by_hash
from pipelines.datasets.digit_collections import read_collections
from pipelines.datasets.idx_files import load_idx_folder
from pipelines.datasets.optdigits import load_optdigits
from pipelines.datasets.qmnist import attach_writers, has_writers, population_by_image
from pipelines.image_pipeline import image_pipeline
from pipelines.recipe import Augmentation, NetworkRecipe

OPTDIGITS_FRACTIONS = {"train": 0.32, "validation": 0.08, "golden": 0.21, "stream": 0.39}
MNIST_TRAIN_FRACTIONS = {"train": 0.98, "validation": 0.02}
MNIST_WRITER_FRACTIONS = {"train": 0.95, "validation": 0.05}
"""Of the 539 writers of MNIST's training images: 2 % of them are ten hands."""
MNIST_TEST_FRACTIONS = {"golden": 0.30, "stream": 0.70}


def load_split(folder: Path | None) -> Split:
    """The bundled optical digits, or the MNIST files of a folder; both split by content.

    A folder that holds QMNIST's extended labels too is split by writer: no hand is on two sides.
    """
    if folder is None:
        return split_by_hash(load_optdigits(), OPTDIGITS_FRACTIONS)
    train, test = load_idx_folder(folder)
    deal, fractions = split_by_hash, MNIST_TRAIN_FRACTIONS
    if has_writers(folder):
        train, test = attach_writers(train, folder, "train"), attach_writers(test, folder, "test")
        deal, fractions = split_by_group, MNIST_WRITER_FRACTIONS
    training = deal(train, fractions)
    testing = deal(test.exclude(train.ids), MNIST_TEST_FRACTIONS)
    return Split(training.train, training.validation, testing.golden, testing.stream)


def sensitive_groups(rows: Examples) -> Mapping[str, Sequence[str]]:
    """Who wrote the rows, and to which people the writer belongs, where QMNIST's labels say so."""
    people = population_by_image(rows)
    return {"population": [people.get(each, "") for each in rows.ids], "writer": rows.groups}


COMPACT = NetworkRecipe(
    name="compact",
    channels=(8, 16),
    hidden=64,
    dropout=0.2,
    epochs=20,
    batch_size=32,
    learning_rate=3e-3,
    weight_decay=1e-5,
    patience=8,
    plateau_patience=2,
    augmentation=Augmentation(rotation=10.0, shift=2.0, zoom=0.1, shear=6.0, contrast=0.5),
    max_train_rows=2_000,
    feedback_share=0.3,
)

REFERENCE = NetworkRecipe(
    name="reference",
    channels=(32, 64),
    hidden=128,
    dropout=0.5,
    epochs=20,
    batch_size=128,
    learning_rate=1e-3,
    weight_decay=1e-4,
    patience=5,
    plateau_patience=3,
    augmentation=Augmentation(rotation=10.0, shift=2.0, zoom=0.1, shear=5.0, contrast=0.5),
    threads=2,
)

BEST = NetworkRecipe(
    name="best",
    body="lean",
    channels=(24, 64, 96),
    hidden=1,
    dropout=0.1,
    epochs=20,
    batch_size=128,
    learning_rate=4e-3,
    weight_decay=2e-2,
    schedule="one-cycle",
    averaging=0.998,
    calm=0.25,
    label_smoothing=0.05,
    precision="bfloat16",
    patience=20,
    plateau_patience=0,
    augmentation=Augmentation(
        rotation=12.0, shift=1.5, zoom=0.1, stretch=0.1, shear=10.0, elastic=0.9, stroke=0.4, contrast=0.4
    ),
)

PIPELINE = image_pipeline(
    name="digits",
    title="Handwritten digits",
    classes=tuple("0123456789"),
    height=28,
    width=28,
    recipes={recipe.name: recipe for recipe in (COMPACT, REFERENCE, BEST)},
    default_recipe="compact",
    load=load_split,
    sensitive_groups=sensitive_groups,
    external_datasets=read_collections,
    card={
        "intended_use": "Reading single handwritten digits, cut out and centred, bright on dark.",
        "out_of_scope": "Strings of digits, letters, photographs, printed type, and any reading of which a "
        "mistake is not checked by a person or a checksum.",
        "factors": "The device that scanned the paper, its turn and light, and the writer's hand.",
        "training_data": "Optical digits of the UCI repository as bundled with scikit-learn, enlarged to "
        "28x28, or MNIST when a folder with its files is given; then labelled feedback from use.",
        "evaluation_data": "A golden set, dealt by content hash, frozen and never trained on.",
        "ethics": "Both collections were published for research; a digit alone names nobody. Account and "
        "postal numbers can be personal data: keep images no longer than needed.",
        "caveats": "Accuracy on another scanner or population is unknown until its own labels are collected.",
    },
)
