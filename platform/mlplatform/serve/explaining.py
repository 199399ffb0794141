"""Explanations of answers: which places of a picture spoke for a class, by the version that answered; nothing is kept.

The served graph may be ONNX Runtime's, which has no gradients: an explanation opens the version's PyTorch graph, and
remembers the few versions asked about last.
"""

import threading
from base64 import b64encode
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlplatform.build import Parts
from mlplatform.errors import ConflictError, InvalidInputError
from mlplatform.serve.bodies import ExplainIn, ExplainOut, ModelName
from mlplatform.serve.decode import Decoder, Grey, from_png
from mlplatform.serve.holder import Holder
from mlplatform.store import predictions
from pipelines.errors import ModelFormatError
from registry.package import MODEL_FILE

if TYPE_CHECKING:
    from pipelines.explain import Explainer

REMEMBERED = 3
METHOD = "grad-cam"


@dataclass(frozen=True)
class Explanation:
    """What is answered, as JSON's content and as a picture."""

    shown: ExplainOut
    png: bytes


class Explaining:
    """Explains predictions and pictures; threads may share it."""

    def __init__(self, parts: Parts, holder: Holder, decoder: Decoder) -> None:
        self._parts, self._holder, self._decoder = parts, holder, decoder
        self._opened: OrderedDict[int, Explainer] = OrderedDict()
        self._lock = threading.Lock()

    def explain(self, asked: ExplainIn) -> Explanation:
        """The heat map of what is asked.

        Raises InvalidInputError for a wrong request, NotFoundError for an unknown prediction, ModelUnavailableError
        before the first model, and ConflictError for a model that cannot be explained.
        """
        if (asked.prediction_id is None) == (asked.image is None):
            raise InvalidInputError('give either "prediction_id" or "image", not both and not none')
        classes = self._parts.family.classes
        if asked.label is not None and asked.label not in classes:
            raise InvalidInputError(f"label {asked.label!r} is none of the model's classes: {', '.join(classes)}")
        image, version = self._picture(asked)
        explainer = self._explainer(version)
        answered = explainer(image)
        found = answered if asked.label is None else explainer(image, classes.index(asked.label))
        from pipelines.explain import overlay  # loaded by now, with the explainer

        png = overlay(image, found.heat)
        shown = ExplainOut(
            label=classes[found.class_index],
            answer=classes[answered.class_index],
            method=METHOD,
            heat=[[round(float(each), 4) for each in line] for line in found.heat],
            overlay=b64encode(png).decode(),
            model=ModelName(name=self._parts.family.name, version=version),
            prediction_id=asked.prediction_id,
        )
        return Explanation(shown, png)

    def _picture(self, asked: ExplainIn) -> tuple[Grey, int]:
        if asked.prediction_id is None:
            return self._decoder.images([asked.image])[0], self._holder.take().version
        with self._parts.database.read() as connection:
            row = predictions.find(connection, asked.prediction_id)
            png = predictions.image(connection, row.image_hash)
        if row.model_name != self._parts.family.name:
            raise InvalidInputError(
                f"prediction {asked.prediction_id} was made by {row.model_name!r}; ask that model's server"
            )
        return from_png(png), row.model_version

    def _explainer(self, version: int) -> "Explainer":
        with self._lock:
            found = self._opened.get(version)
            if found is None:
                found = self._opened[version] = self._open(version)
            self._opened.move_to_end(version)
            while len(self._opened) > REMEMBERED:
                self._opened.popitem(last=False)
        return found

    def _open(self, version: int) -> "Explainer":
        # Both import PyTorch, which a server that answers with ONNX Runtime does without until it is asked to explain.
        from pipelines.explain import Explainer
        from pipelines.predict import load

        family = self._parts.family
        folder = self._parts.catalog.download(family.name, version, self._parts.model_cache)
        try:
            return Explainer(load(folder / MODEL_FILE, family.classes).module, len(family.classes))
        except ModelFormatError as error:
            raise ConflictError(f"version {version} cannot be explained: {error}") from error
