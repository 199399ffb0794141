"""How sure and how strict the gate is: its alpha, margins and limits."""

from dataclasses import dataclass

from registry.errors import GateError


@dataclass(frozen=True)
class GatePolicy:
    """How sure and how strict the gate is; margins and the benefit are shares of accuracy."""

    alpha: float = 0.05
    golden_margin: float = 0.02
    """The loss on the golden rows that must be ruled out."""
    golden_tolerance: float = 0.005
    """The loss on the golden rows that may be shown, no more than what the accuracy rule raises no alarm for.

    Without it a larger golden set lets a larger loss through, up to the margin, and the alarm's baseline follows."""
    min_benefit: float = 0.0
    class_margin: float = 0.10
    group_margin: float = 0.05
    robustness_margin: float = 0.10
    strong_loss_max: float = 1.0
    """The most that a strong disturbance may cost; 1 never blocks. What is shown to be lost is told all the same."""
    calibration_margin: float = 0.02
    """Of the Brier score of the given answer, from 0 to 1."""
    latency_ratio_max: float = 1.5
    latency_floor_ms: float = 1.0
    """What answers within it is fast enough, however fast the champion is."""
    size_ratio_max: float = 1.5
    min_rows: int = 50

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise GateError(f"alpha is {self.alpha}: choose a chance of error between 0 and 0.5")
        for name in (
            name for name in self.__dataclass_fields__ if name.endswith(("_margin", "_tolerance", "_benefit"))
        ):
            if not 0 <= getattr(self, name) < 1:
                raise GateError(f"{name} is {getattr(self, name)}: choose a share from 0 to below 1")
        if not 0 <= self.strong_loss_max <= 1:
            raise GateError(f"strong_loss_max is {self.strong_loss_max}: choose a share from 0 to 1")
        if not 0 <= self.latency_floor_ms < float("inf"):
            raise GateError(f"latency_floor_ms is {self.latency_floor_ms}: choose milliseconds from 0 up")
        for name in ("latency_ratio_max", "size_ratio_max", "min_rows"):
            if not getattr(self, name) > 0:
                raise GateError(f"{name} is {getattr(self, name)}: choose a number above 0")
