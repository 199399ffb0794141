"""The recipe of a training, every choice that changes its outcome; refuses to know data or torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pipelines.errors import TrainingError


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
    noise: float = 0.0
    """Standard deviation of the grey noise, 1 being the range from black to white."""
    contrast: float = 0.0
    """Most that the contrast falls, as a share: the light moves towards the picture's mean."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 0:
                raise TrainingError(f"augmentation {name} is {value}; give 0 or more")
        if self.contrast >= 1:
            raise TrainingError(f"augmentation contrast is {self.contrast}; give less than 1, or nothing is left")


@dataclass(frozen=True)
class Recipe:
    """One way of making a model of a family."""

    name: str
    channels: tuple[int, int]
    hidden: int
    dropout: float
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    patience: int
    """Epochs without a better validation loss before the training ends."""
    plateau_patience: int
    """Epochs without a better validation loss before the learning rate is halved."""
    augmentation: Augmentation
    max_train_rows: int | None = None
    """At most this many base rows, chosen by hash; None takes all."""
    feedback_share: float = 0.25
    """Feedback rows are repeated until they make up this share of an epoch..."""
    feedback_repeats: int = 4
    """...but each row at most this often."""
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("hidden", "epochs", "batch_size", "patience", "feedback_repeats", "threads"):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        self._require("channels", min(self.channels) >= 1, "two counts of 1 or more")
        self._require("dropout", 0 <= self.dropout < 1, "a share from 0 to below 1")
        self._require("learning_rate", self.learning_rate > 0, "a number above 0")
        self._require("weight_decay", self.weight_decay >= 0, "0 or more")
        self._require("plateau_patience", self.plateau_patience >= 0, "0 or more")
        self._require("feedback_share", 0 <= self.feedback_share < 1, "a share from 0 to below 1")
        self._require("max_train_rows", self.max_train_rows is None or self.max_train_rows >= 1, "1 or None")

    def as_params(self) -> dict[str, str | int | float]:
        """Flat, stable names for a tracking server; None becomes 'all'."""
        params: dict[str, str | int | float] = {}
        for key, value in asdict(self).items():
            if key == "channels":
                params |= {"channels_1": value[0], "channels_2": value[1]}
            elif key == "augmentation":
                params |= {f"augmentation_{part}": amount for part, amount in value.items()}
            else:
                params["recipe" if key == "name" else key] = "all" if value is None else value
        return params

    def _require(self, field: str, fine: bool, allowed: str) -> None:
        if not fine:
            value = getattr(self, field)
            raise TrainingError(f"recipe '{self.name}': {field} is {value}; give {allowed}")
