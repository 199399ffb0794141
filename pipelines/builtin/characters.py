"""The pipeline of handwritten characters, digits and letters of either case."""

from __future__ import annotations

from pathlib import Path

from pipelines.data import Examples, Split, rows_by_hash, split_by_group, split_by_hash
from pipelines.datasets.digit_collections import read_beside
from pipelines.datasets.emnist import CHARACTERS, has_emnist, load_emnist
from pipelines.datasets.idx_files import load_idx_folder
from pipelines.datasets.letter_archive import ARCHIVE_FILE, load_letter_archive
from pipelines.datasets.optdigits import load_optdigits
from pipelines.datasets.qmnist import attach_writers, has_writers
from pipelines.errors import MissingDataError
from pipelines.image_pipeline import image_pipeline
from pipelines.recipe import Augmentation, NetworkRecipe

CLASSES = tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
SIDE = 28
FRACTIONS = {"train": 0.6, "validation": 0.1, "golden": 0.2, "stream": 0.1}


def class_by_folder() -> dict[str, int]:
    """The class of each folder: named after its character, or after the character's code as in NIST SD 19 (`4a` is J).

    Small letters belong to the class of their capital.
    """
    places = {name: index for index, name in enumerate(CLASSES)}
    characters = [*CLASSES, *(name.lower() for name in CLASSES if name.isalpha())]
    named = {character: places[character.upper()] for character in characters}
    coded = {f"{ord(character):02x}": places[character.upper()] for character in characters}
    return named | coded


def load_split(folder: Path | None) -> Split:
    """The letters of an archive by writer with digits beside them, or a folder of images for each character.

    The archive is split by writer, so that no hand is on two sides; the folders, dark ink on light paper, by content.
    """
    # Pillow takes a moment to import, and only the loading needs it.
    from pipelines.datasets.image_folder import load_image_folder

    if folder is None:
        raise MissingDataError(
            "no letters come with the platform; give a folder that holds a folder of PNG files for each character "
            f"(--data-dir, PLATFORM_DATA_DIR), such as `by_class` of NIST SD 19, or {ARCHIVE_FILE}"
        )
    if (folder / ARCHIVE_FILE).is_file():
        return split_by_group(load_characters(folder), FRACTIONS)
    return split_by_hash(
        load_image_folder(folder, class_by_folder(), height=SIDE, width=SIDE, polarity="dark-on-light"), FRACTIONS
    )


def load_characters(folder: Path) -> Examples:
    """The archive's letters, and as many digits of each class as there are of a letter on average, with writers.

    The digits are MNIST's training images, from a folder `mnist` in this one or beside it, of known writers where
    QMNIST's labels are there; else the bundled optical digits, of which nobody knows the writers.
    """
    letters = load_letter_archive(folder / ARCHIVE_FILE, CLASSES.index("A"))
    found = [place for place in (folder / "mnist", folder.parent / "mnist") if place.is_dir()]
    digits = load_optdigits()
    if found:
        digits = load_idx_folder(found[0])[0]
        if has_writers(found[0]):
            digits = attach_writers(digits, found[0], "train")
    count = round(len(letters) / len(set(letters.labels.tolist())))
    some = [rows_by_hash(digits.take(digits.labels == digit), count) for digit in range(10)]
    return Examples.concat("characters", *some, letters)


def external_datasets(folder: Path | None) -> tuple[Examples, ...]:
    """EMNIST's balanced test characters, where a folder `emnist` lies in the pipeline's folder or beside it."""
    classes = {character: CLASSES.index(character.upper()) for character in CHARACTERS["balanced"]}

    def read(place: Path) -> Examples | None:
        return load_emnist(place, "balanced", classes) if has_emnist(place, "balanced") else None

    return read_beside(folder, "emnist", read)


COMPACT = NetworkRecipe(
    name="compact",
    body="lean",
    channels=(16, 32, 64),
    hidden=1,
    dropout=0.1,
    epochs=12,
    batch_size=64,
    learning_rate=6e-3,
    weight_decay=1e-2,
    schedule="one-cycle",
    averaging=0.98,
    patience=12,
    plateau_patience=0,
    augmentation=Augmentation(rotation=8.0, shift=1.5, zoom=0.1, shear=6.0, elastic=0.6, contrast=0.5),
    max_train_rows=10_000,
)

PIPELINE = image_pipeline(
    name="characters",
    title="Handwritten characters",
    classes=CLASSES,
    height=SIDE,
    width=SIDE,
    recipes={COMPACT.name: COMPACT},
    default_recipe=COMPACT.name,
    load=load_split,
    external_datasets=external_datasets,
    card={
        "intended_use": "Reading single handwritten digits and Latin letters, cut out and centred, bright on dark.",
        "out_of_scope": "Telling capitals from small letters, letters with accents, words, printed type, and any "
        "reading of which a mistake is not checked.",
        "factors": "The device that scanned the paper and the writer's hand; 0 and O, 1 and I, 5 and S may look alike.",
        "training_data": "Labelled pictures of a folder that is given; then labelled feedback from use.",
        "evaluation_data": "A golden set, dealt by content hash, frozen and never trained on.",
        "ethics": "A single character names nobody; words and names do: keep images no longer than needed.",
        "caveats": "Folders name no writers, so golden rows share hands with training rows; an archive does.",
    },
)
