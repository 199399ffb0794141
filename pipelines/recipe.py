"""The recipe of a training: every choice that changes its outcome."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from pipelines.errors import TrainingError

NetworkHead = Literal["plain", "lean"]
Schedule = Literal["plateau", "one-cycle"]
Precision = Literal["float32", "bfloat16"]

COOLDOWN_SCALE = 1 / 3


@dataclass(frozen=True)
class Augmentation:
    """How far each training image may be moved, at random, each time it is seen."""

    rotation: float = 0.0
    """Degrees, either way."""
    shift: float = 0.0
    """Pixels, either way, along each axis."""
    zoom: float = 0.0
    """Share of the size, either way: 0.1 is 90 % to 110 %."""
    shear: float = 0.0
    """Degrees of slant, either way."""
    stretch: float = 0.0
    """Share of the size, either way, along each axis alone: letters become narrower or flatter."""
    elastic: float = 0.0
    """Standard deviation, in pixels, of a smooth random warp."""
    stroke: float = 0.0
    """How far strokes may be thickened or thinned, 1 being a whole pixel on every side."""
    noise: float = 0.0
    """Standard deviation of the grey noise, 1 being the range from black to white."""
    contrast: float = 0.0
    """Most that the contrast falls, as a share: the light moves towards the image's mean."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 0:
                raise TrainingError(f"augmentation {name} is {value}; give 0 or more")
        if self.stroke > 1:
            raise TrainingError(f"augmentation stroke is {self.stroke}; give at most 1, a pixel on every side")
        if max(self.zoom, self.stretch) >= 0.5:
            raise TrainingError(
                f"augmentation zoom is {self.zoom} and stretch {self.stretch}; give less than 0.5, or nothing is left"
            )
        if self.contrast >= 1:
            raise TrainingError(f"augmentation contrast is {self.contrast}; give less than 1, or nothing is left")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way of making a model of a pipeline: which rows make an epoch; what else is chosen is its trainer's."""

    name: str = "default"
    max_train_rows: int | None = None
    """At most this many base rows, chosen by hash; None takes all."""
    feedback_share: float = 0.25
    """Feedback rows are repeated until they make up this share of an epoch..."""
    feedback_repeats: int = 4
    """...but each row at most this often."""

    def __post_init__(self) -> None:
        self._require("feedback_repeats", self.feedback_repeats >= 1, "1 or more")
        self._require("feedback_share", 0 <= self.feedback_share < 1, "a share from 0 to below 1")
        self._require("max_train_rows", self.max_train_rows is None or self.max_train_rows >= 1, "1 or None")

    def as_params(self) -> dict[str, str | int | float]:
        """Flat, stable names for a tracking server; None becomes 'all'."""
        values = {"recipe" if key == "name" else key: value for key, value in asdict(self).items()}
        return {key: "all" if value is None else value for key, value in values.items()}

    def _require(self, field: str, valid: bool, allowed: str) -> None:
        if not valid:
            value = getattr(self, field)
            raise TrainingError(f"recipe '{self.name}': {field} is {value}; give {allowed}")


@dataclass(frozen=True, kw_only=True)
class NetworkRecipe(Recipe):
    """One way of training a network of pictures."""

    channels: tuple[int, ...]
    """Of the convolutions of each block; blocks are halved by pooling."""
    hidden: int
    """Units of the dense layer of a plain body."""
    dropout: float
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    patience: int
    """Epochs without a better validation loss before the training ends, on a plateau schedule."""
    plateau_patience: int
    """Epochs without a better validation loss before the learning rate is halved."""
    augmentation: Augmentation
    threads: int = 1
    body: NetworkHead = "plain"
    """Plain: a dense layer reads the last block. Lean: its mean does, and pooling comes before the norm."""
    schedule: Schedule = "plateau"
    """Plateau: Adam, halved when validation stands still, the best epoch wins. One-cycle: AdamW, up and down to
    almost nothing in all the epochs there are, the last one wins."""
    averaging: float = 0.0
    """Of the weights over the steps, the share that the mean keeps at each step; 0 takes them as they are."""
    label_smoothing: float = 0.0
    """Share of the truth that is spread over all classes."""
    calm: float = 0.0
    """Share of the epochs, the last ones, in which images move and fade a third as far, nearer to what will come."""
    warm_start: bool = False
    """Whether a retraining begins with the champion's weights, where its network is built alike."""
    precision: Precision = "float32"
    """Of the products while training; weights, checks and the registered model are float32 always."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("hidden", "epochs", "batch_size", "patience", "threads"):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        self._require("channels", min(self.channels, default=0) >= 1, "counts of 1 or more, one for each block")
        for name, kind in (("body", NetworkHead), ("schedule", Schedule), ("precision", Precision)):
            self._require(name, getattr(self, name) in get_args(kind), " or ".join(get_args(kind)))
        self._require("calm", 0 <= self.calm <= 1, "a share from 0 to 1")
        self._require("averaging", 0 <= self.averaging < 1, "a share from 0 to below 1")
        self._require("label_smoothing", 0 <= self.label_smoothing < 1, "a share from 0 to below 1")
        self._require("dropout", 0 <= self.dropout < 1, "a share from 0 to below 1")
        self._require("learning_rate", self.learning_rate > 0, "a number above 0")
        self._require("weight_decay", self.weight_decay >= 0, "0 or more")
        self._require("plateau_patience", self.plateau_patience >= 0, "0 or more")

    def augmentation_at(self, epoch: int) -> Augmentation:
        """How far images move in this epoch, from 1."""
        if epoch <= self.epochs * (1 - self.calm):
            return self.augmentation
        return Augmentation(**{name: amount * COOLDOWN_SCALE for name, amount in asdict(self.augmentation).items()})

    def as_params(self) -> dict[str, str | int | float]:
        """Flat, stable names for a tracking server, one for each block's channels and each part of the augmentation."""
        params: dict[str, Any] = super().as_params()
        channels, augmentation = params.pop("channels"), params.pop("augmentation")
        params |= {f"channels_{place}": count for place, count in enumerate(channels, start=1)}
        return params | {f"augmentation_{part}": amount for part, amount in augmentation.items()}


def network_recipe(recipe: Recipe) -> NetworkRecipe:
    """The recipe as one of a network; raises TrainingError where it is another trainer's."""
    if not isinstance(recipe, NetworkRecipe):
        raise TrainingError(f"recipe '{recipe.name}' trains no network; give a NetworkRecipe")
    return recipe
