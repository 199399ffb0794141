"""The pipeline of handwritten Eastern-Arabic digits, ٠ to ٩."""

from __future__ import annotations

from pathlib import Path

from pipelines.data import Examples, Split, split_by_hash
from pipelines.datasets.idx_files import load_idx_pairs
from pipelines.errors import MissingDataError
from pipelines.image_pipeline import image_pipeline
from pipelines.recipe import Augmentation, NetworkRecipe

CLASSES = tuple("٠١٢٣٤٥٦٧٨٩")
SIDE = 48
FRACTIONS = {"train": 0.55, "validation": 0.05, "golden": 0.15, "stream": 0.25}


def load_split(folder: Path | None) -> Split:
    """Every IDX pair of a folder, such as MADBase's, enlarged to 48x48 and split by content."""
    # Pillow takes a moment to import, and only the loading needs it.
    from pipelines.datasets.image_folder import fit_all_to_canvas

    if folder is None:
        raise MissingDataError(
            "no Eastern-Arabic digits come with the platform; give the folder of MADBase's IDX files (--data-dir, "
            "PLATFORM_DATA_DIR)"
        )
    pairs = load_idx_pairs(folder, len(CLASSES))
    if not pairs:
        raise MissingDataError(
            f"{folder} holds no pair X-images-idx3-ubyte and X-labels-idx1-ubyte; put MADBase's there"
        )
    # Split before enlarging would be the same: equal images are equal at any size.
    return split_by_hash(fit_all_to_canvas(Examples.concat("madbase", *pairs), SIDE, SIDE), FRACTIONS)


COMPACT = NetworkRecipe(
    name="compact",
    body="lean",
    channels=(8, 16, 32, 48),
    hidden=1,
    dropout=0.1,
    epochs=10,
    batch_size=64,
    learning_rate=5e-3,
    weight_decay=1e-2,
    schedule="one-cycle",
    averaging=0.98,
    patience=10,
    plateau_patience=0,
    augmentation=Augmentation(rotation=8.0, shift=3.0, zoom=0.1, shear=6.0, elastic=0.8, contrast=0.5),
    max_train_rows=3_000,
)

PIPELINE = image_pipeline(
    name="arabic",
    title="Eastern-Arabic digits",
    classes=CLASSES,
    height=SIDE,
    width=SIDE,
    recipes={COMPACT.name: COMPACT},
    default_recipe=COMPACT.name,
    load=load_split,
    card={
        "intended_use": "Reading single handwritten Eastern-Arabic digits, cut out and centred, bright on dark.",
        "out_of_scope": "European and Persian forms (۴, ۵, ۶), strings of digits, letters, printed type, and any "
        "reading of which a mistake is not checked by a person or a checksum.",
        "factors": "The device that scanned the paper, its turn and light, the writer's hand; a hole tells ٥ from ٠.",
        "training_data": "MADBase (El-Sherif and Abdleazeem, The American University in Cairo), 28x28, enlarged to "
        "48x48; then labelled feedback from use.",
        "evaluation_data": "A golden set, dealt by content hash, frozen and never trained on.",
        "ethics": "Published for research; a digit alone names nobody. Account numbers can be personal data: keep "
        "images no longer than needed.",
        "caveats": "Writers are not named in the files, so golden rows share hands with training rows: strangers' "
        "digits are read less well than the golden accuracy says.",
    },
)
