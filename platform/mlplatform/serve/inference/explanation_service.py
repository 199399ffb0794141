"""Explains predictions by the version that answered: which pixels of an image spoke for a class, or which columns.

The served graph of pictures may be ONNX Runtime's, which has no gradients: an explanation opens the version's PyTorch
graph, most often in a process of its own (`serve/heatmaps.py`). A row of a table is explained by the served graph.
"""

import threading
from base64 import b64decode
from dataclasses import dataclass

from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, InvalidInputError
from mlplatform.predictions import prediction_records
from mlplatform.predictions.prediction_records import StoredInput
from mlplatform.schema_base import ModelName
from mlplatform.serve.inference.heatmaps import HeatmapRenderer
from mlplatform.serve.inference.model_slot import ModelSlot
from mlplatform.serve.inference.request_decoder import (
    Decoders,
    GreyImage,
    ImageDecoder,
    image_decoder,
    row_decoder,
)
from mlplatform.serve.schemas import ColumnContributionOut, ExplainIn, ExplainOut
from pipelines.batch import Batch
from pipelines.edge.request_payloads import JsonLimits
from pipelines.engines.inference_engine import EngineConfig, InferenceEngine
from pipelines.errors import ModelFormatError
from pipelines.image.grey_png import decode_png
from pipelines.input_row import is_table_form
from pipelines.inputs.row_explanation import explain_row
from pipelines.inputs.table_codec import TableCodec, json_value
from pipelines.loading import load_engine
from registry.model_contract import Column, ModelContract, TableInputs
from registry.model_package import MODEL_FILE
from registry.prediction_task import Classification


@dataclass(frozen=True)
class RenderedExplanation:
    """What is answered, as JSON's content and as a picture; b"" where there is none."""

    body: ExplainOut
    png: bytes = b""


@dataclass(frozen=True)
class _ExplainedInput:
    """What is explained, and the version whose answer it is."""

    version: int
    image: GreyImage | None = None
    batch: Batch | None = None
    kept_row: StoredInput | None = None


class ExplanationService:
    """Explains predictions, pictures and rows; threads may share it."""

    def __init__(
        self, context: AppContext, model_slot: ModelSlot, decoders: Decoders, renderer: HeatmapRenderer
    ) -> None:
        self._context, self._model_slot, self._decoders, self._renderer = context, model_slot, decoders, renderer
        self._table_engine: tuple[int, InferenceEngine] | None = None
        self._lock = threading.Lock()

    def explain(self, explain_request: ExplainIn) -> RenderedExplanation:
        """The heat map, or the effects of columns, of what is asked.

        Raises InvalidInputError for a wrong request, NotFoundError for an unknown prediction, ModelUnavailableError
        before the first model, ModelUnreadableError where none can be made now, and ConflictError for a model or row
        that cannot be explained.
        """
        given = (explain_request.prediction_id, explain_request.image, explain_request.row)
        if sum(each is not None for each in given) != 1:
            raise InvalidInputError('give either "prediction_id", "image" or "row", one of them')
        explained = self._load_input(explain_request)
        with self._context.database.read() as connection:
            contract = self._context.contracts.of(connection, self._context.model_name, explained.version)
        if not isinstance(contract.task, Classification):
            raise ConflictError(
                f"version {explained.version} cannot be explained: it answers texts, and only classes are"
            )
        label = explain_request.label
        if label is not None and label not in contract.classes:
            raise InvalidInputError(f"label {label!r} is none of the model's classes: {', '.join(contract.classes)}")
        class_index = None if label is None else contract.classes.index(label)
        model = ModelName(name=self._context.model_name, version=explained.version)
        try:
            if explained.image is not None:
                body = self._heatmap(explained.image, contract, model, class_index)
            else:
                body = self._row_explanation(explained, contract, model, class_index)
        except ModelFormatError as error:
            raise ConflictError(f"version {explained.version} cannot be explained: {error}") from error
        body = body.model_copy(update={"prediction_id": explain_request.prediction_id})
        return RenderedExplanation(body, b64decode(body.overlay or ""))

    def body_limits(self) -> JsonLimits:
        """What a request may hold for the model that answers now; raises ModelUnavailableError before the first."""
        decoder = self._decoders.of(self._model_slot.get().predictor)
        if isinstance(decoder, ImageDecoder):
            return JsonLimits.for_images(1, decoder.height, decoder.width)
        return decoder.one_row_limits()

    def close(self) -> None:
        """Make no more."""
        self._renderer.close()

    def _load_input(self, explain_request: ExplainIn) -> _ExplainedInput:
        if explain_request.prediction_id is not None:
            return self._load_recorded(explain_request.prediction_id)
        model = self._model_slot.get()
        decoder = self._decoders.of(model.predictor)
        if explain_request.row is None:
            image = image_decoder(decoder).decode_images([explain_request.image])[0]
            return _ExplainedInput(model.version, image=image)
        return _ExplainedInput(
            model.version, batch=row_decoder(decoder).read_objects([explain_request.row], "row").batch
        )

    def _load_recorded(self, prediction_id: str) -> _ExplainedInput:
        with self._context.database.read() as connection:
            prediction = prediction_records.find(connection, prediction_id)
            stored = prediction_records.load_input(connection, prediction.image_hash)
        if prediction.model_name != self._context.model_name:
            raise InvalidInputError(
                f"prediction {prediction_id} was made by {prediction.model_name!r}; ask that model's server"
            )
        if is_table_form(stored.form):
            return _ExplainedInput(prediction.model_version, kept_row=stored)
        return _ExplainedInput(prediction.model_version, image=decode_png(stored.content))

    def _heatmap(
        self, image: GreyImage, contract: ModelContract, model: ModelName, class_index: int | None
    ) -> ExplainOut:
        folder = self._context.catalog.download(model.name, model.version, self._context.model_cache)
        heatmap = self._renderer.render(folder / MODEL_FILE, contract.classes, image, class_index)
        return ExplainOut(
            label=contract.classes[heatmap.index],
            answer=contract.classes[heatmap.answer],
            method="grad-cam",
            heat=heatmap.heat,
            overlay=heatmap.overlay,
            model=model,
            prediction_id=None,
        )

    def _row_explanation(
        self, explained: _ExplainedInput, contract: ModelContract, model: ModelName, class_index: int | None
    ) -> ExplainOut:
        if not isinstance(contract.inputs, TableInputs):
            raise ModelFormatError("it takes pictures, and this is a row of a table")
        columns = contract.inputs.columns
        row = explained.batch
        if row is None:
            assert explained.kept_row is not None
            row = _whole_row(explained.kept_row, columns)
        found = explain_row(self._engine(model, contract), row, columns, class_index)
        by_name = {column.name: column for column in columns}
        return ExplainOut(
            label=contract.classes[found.index],
            answer=contract.classes[found.answer],
            method="feature-ablation",
            probability=found.probability,
            columns=[
                ColumnContributionOut(
                    column=each.column,
                    value=json_value(by_name[each.column], row.array(each.column)[0]),
                    usual=json_value(by_name[each.column], each.usual),
                    effect=round(each.effect, 6),
                    answer=contract.classes[each.answer],
                )
                for each in found.columns
            ],
            model=model,
            prediction_id=None,
        )

    def _engine(self, model: ModelName, contract: ModelContract) -> InferenceEngine:
        """The graph of a version; of versions that do not serve, the one asked about last stays open."""
        current = self._model_slot.current
        if current is not None and (current.name, current.version) == (model.name, model.version):
            return current.predictor
        with self._lock:
            if self._table_engine is None or self._table_engine[0] != model.version:
                folder = self._context.catalog.download(model.name, model.version, self._context.model_cache)
                self._table_engine = model.version, load_engine(folder, contract, EngineConfig())
            return self._table_engine[1]


def _whole_row(kept: StoredInput, columns: tuple[Column, ...]) -> Batch:
    """A recorded row as the model was asked it; raises ConflictError where it was not kept whole."""
    codec = TableCodec(columns)
    if (mismatch := codec.form_mismatch(kept.form)) is not None:
        raise ConflictError(f"this answer cannot be explained: {mismatch}")
    if hidden := [column.name for column in columns if not column.kept]:
        raise ConflictError(
            f'the column {hidden[0]!r} of this answer\'s row is not kept; send the whole row as "row" instead'
        )
    return codec.unpack([kept.content])
