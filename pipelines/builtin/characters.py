"""The pipeline of handwritten characters, digits and letters of either case."""

from __future__ import annotations

from pathlib import Path

from pipelines.data import Split, split_by_hash
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
    """A folder of PNG files for each character, dark ink on light paper, fitted into 28x28 and split by content."""
    # Pillow takes a moment to import, and only the loading needs it.
    from pipelines.datasets.image_folder import load_image_folder

    if folder is None:
        raise MissingDataError(
            "no letters come with the platform; give a folder that holds a folder of PNG files for each character "
            "(--data-dir, PLATFORM_DATA_DIR), such as `by_class` of NIST SD 19"
        )
    return split_by_hash(
        load_image_folder(folder, class_by_folder(), height=SIDE, width=SIDE, polarity="dark-on-light"), FRACTIONS
    )


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
    card={
        "intended_use": "Reading single handwritten digits and Latin letters, cut out and centred, bright on dark.",
        "out_of_scope": "Telling capitals from small letters, letters with accents, words, printed type, and any "
        "reading of which a mistake is not checked.",
        "factors": "The device that scanned the paper and the writer's hand; 0 and O, 1 and I, 5 and S may look alike.",
        "training_data": "Labelled pictures of a folder that is given; then labelled feedback from use.",
        "evaluation_data": "A golden set, dealt by content hash, frozen and never trained on.",
        "ethics": "A single character names nobody; words and names do: keep images no longer than needed.",
        "caveats": "Folders name no writers, so golden rows share hands with training rows.",
    },
)
