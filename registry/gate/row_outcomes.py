"""Which images a version got right, kept so that later versions are compared with it row by row."""

import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from registry.errors import GateError

ROWS_FILE = "gate_rows.json"


@dataclass(frozen=True)
class RowOutcomes:
    """The images of one set, by content hash, the set's digest, and "1" (right) or "0" for each, in its order."""

    digest: str
    ids: tuple[str, ...]
    right: str

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.right) or set(self.right) - set("01"):
            raise GateError(f"There are {len(self.right)} marks for {len(self.ids)} images: give a 1 or a 0 for each")

    @classmethod
    def from_mask(cls, digest: str, ids: tuple[str, ...], right: NDArray[np.bool_]) -> "RowOutcomes":
        """The marks of a model that is right where `right` (n,) is true."""
        return cls(digest, ids, "".join("1" if is_right else "0" for is_right in right.tolist()))

    @property
    def as_array(self) -> NDArray[np.int64]:
        """1 or 0 for each image, (n,)."""
        return np.array([int(mark) for mark in self.right], dtype=np.int64)


@dataclass(frozen=True)
class GateRowOutcomes:
    """The marks of one version on the golden set and on the recent rows of its time."""

    golden: RowOutcomes
    recent: RowOutcomes | None

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "GateRowOutcomes":
        try:
            raw = json.loads(text)
            golden, recent = (
                None if marks is None else RowOutcomes(marks["digest"], tuple(marks["ids"]), marks["right"])
                for marks in (raw["golden"], raw["recent"])
            )
        except (ValueError, TypeError, KeyError) as error:
            raise GateError(f"{text[:60]!r} holds no marks: give the text of GateRowOutcomes.to_json") from error
        if golden is None:
            raise GateError("The marks of the golden set are missing: give the text of GateRowOutcomes.to_json")
        return cls(golden, recent)
