"""Explanations of answers: which places of a picture spoke for a class, by the version that answered; nothing is kept.

The served graph may be ONNX Runtime's, which has no gradients: an explanation opens the version's PyTorch graph, most
often in a process of its own (`serve/heatmaps.py`).
"""

from base64 import b64decode
from dataclasses import dataclass

from mlplatform.context import Parts
from mlplatform.errors import ConflictError, InvalidInputError
from mlplatform.predictions import prediction_records
from mlplatform.predictions.stored_image import from_png
from mlplatform.schema_base import ModelName
from mlplatform.serve.inference.heatmaps import Mapper
from mlplatform.serve.inference.image_codec import Decoder, Grey
from mlplatform.serve.inference.model_slot import Holder
from mlplatform.serve.schemas import ExplainIn, ExplainOut
from pipelines.errors import ModelFormatError
from registry.model_package import MODEL_FILE

METHOD = "grad-cam"


@dataclass(frozen=True)
class Explanation:
    """What is answered, as JSON's content and as a picture."""

    shown: ExplainOut
    png: bytes


class Explaining:
    """Explains predictions and pictures; threads may share it."""

    def __init__(self, parts: Parts, holder: Holder, decoder: Decoder, mapper: Mapper) -> None:
        self._parts, self._holder, self._decoder, self._mapper = parts, holder, decoder, mapper

    def explain(self, asked: ExplainIn) -> Explanation:
        """The heat map of what is asked.

        Raises InvalidInputError for a wrong request, NotFoundError for an unknown prediction, ModelUnavailableError
        before the first model, ModelUnreadableError where none can be made now, and ConflictError for a model that
        cannot be explained.
        """
        if (asked.prediction_id is None) == (asked.image is None):
            raise InvalidInputError('give either "prediction_id" or "image", not both and not none')
        classes = self._parts.family.classes
        if asked.label is not None and asked.label not in classes:
            raise InvalidInputError(f"label {asked.label!r} is none of the model's classes: {', '.join(classes)}")
        image, version = self._picture(asked)
        family = self._parts.family
        folder = self._parts.catalog.download(family.name, version, self._parts.model_cache)
        wanted = None if asked.label is None else classes.index(asked.label)
        try:
            made = self._mapper.make(folder / MODEL_FILE, classes, image, wanted)
        except ModelFormatError as error:
            raise ConflictError(f"version {version} cannot be explained: {error}") from error
        shown = ExplainOut(
            label=classes[made.index],
            answer=classes[made.answer],
            method=METHOD,
            heat=made.heat,
            overlay=made.overlay,
            model=ModelName(name=family.name, version=version),
            prediction_id=asked.prediction_id,
        )
        return Explanation(shown, b64decode(made.overlay))

    def close(self) -> None:
        """Make no more."""
        self._mapper.close()

    def _picture(self, asked: ExplainIn) -> tuple[Grey, int]:
        if asked.prediction_id is None:
            return self._decoder.images([asked.image])[0], self._holder.take().version
        with self._parts.database.read() as connection:
            row = prediction_records.find(connection, asked.prediction_id)
            png = prediction_records.image(connection, row.image_hash)
        if row.model_name != self._parts.family.name:
            raise InvalidInputError(
                f"prediction {asked.prediction_id} was made by {row.model_name!r}; ask that model's server"
            )
        return from_png(png), row.model_version
