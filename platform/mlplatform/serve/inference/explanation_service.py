"""Explains predictions: which pixels of an image spoke for a class, by the version that answered.

The served graph may be ONNX Runtime's, which has no gradients: an explanation opens the version's PyTorch graph, most
often in a process of its own (`serve/heatmaps.py`).
"""

from base64 import b64decode
from dataclasses import dataclass

from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, InvalidInputError
from mlplatform.predictions import prediction_records
from mlplatform.schema_base import ModelName
from mlplatform.serve.inference.heatmaps import HeatmapRenderer
from mlplatform.serve.inference.model_slot import ModelSlot
from mlplatform.serve.inference.request_decoder import GreyImage, ImageDecoder
from mlplatform.serve.schemas import ExplainIn, ExplainOut
from pipelines.errors import ModelFormatError
from pipelines.image.grey_png import decode_png
from registry.model_package import MODEL_FILE

EXPLANATION_METHOD = "grad-cam"


@dataclass(frozen=True)
class RenderedExplanation:
    """What is answered, as JSON's content and as a picture."""

    body: ExplainOut
    png: bytes


class ExplanationService:
    """Explains predictions and pictures; threads may share it."""

    def __init__(
        self, context: AppContext, model_slot: ModelSlot, decoder: ImageDecoder, renderer: HeatmapRenderer
    ) -> None:
        self._context, self._model_slot, self._decoder, self._renderer = context, model_slot, decoder, renderer

    def explain(self, explain_request: ExplainIn) -> RenderedExplanation:
        """The heat map of what is asked.

        Raises InvalidInputError for a wrong request, NotFoundError for an unknown prediction, ModelUnavailableError
        before the first model, ModelUnreadableError where none can be made now, and ConflictError for a model that
        cannot be explained.
        """
        if (explain_request.prediction_id is None) == (explain_request.image is None):
            raise InvalidInputError('give either "prediction_id" or "image", not both and not none')
        classes = self._context.pipeline.classes
        if explain_request.label is not None and explain_request.label not in classes:
            raise InvalidInputError(
                f"label {explain_request.label!r} is none of the model's classes: {', '.join(classes)}"
            )
        image, version = self._load_image(explain_request)
        pipeline = self._context.pipeline
        folder = self._context.catalog.download(pipeline.name, version, self._context.model_cache)
        class_index = None if explain_request.label is None else classes.index(explain_request.label)
        try:
            heatmap = self._renderer.render(folder / MODEL_FILE, classes, image, class_index)
        except ModelFormatError as error:
            raise ConflictError(f"version {version} cannot be explained: {error}") from error
        body = ExplainOut(
            label=classes[heatmap.index],
            answer=classes[heatmap.answer],
            method=EXPLANATION_METHOD,
            heat=heatmap.heat,
            overlay=heatmap.overlay,
            model=ModelName(name=pipeline.name, version=version),
            prediction_id=explain_request.prediction_id,
        )
        return RenderedExplanation(body, b64decode(heatmap.overlay))

    def close(self) -> None:
        """Make no more."""
        self._renderer.close()

    def _load_image(self, explain_request: ExplainIn) -> tuple[GreyImage, int]:
        if explain_request.prediction_id is None:
            return self._decoder.decode_images([explain_request.image])[0], self._model_slot.get().version
        with self._context.database.read() as connection:
            row = prediction_records.find(connection, explain_request.prediction_id)
            png = prediction_records.load_image(connection, row.image_hash)
        if row.model_name != self._context.pipeline.name:
            raise InvalidInputError(
                f"prediction {explain_request.prediction_id} was made by {row.model_name!r}; ask that model's server"
            )
        return decode_png(png), row.model_version
