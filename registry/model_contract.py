"""A model's contract: what goes in and what comes out, as data that travels with each version.

Whoever serves or watches a version reads it from there, and never from the code that trains the next one: a class that
was added since changes nothing about versions that did not know it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Literal, get_args

from registry.column_profile import ColumnProfile
from registry.contract_fields import (
    check_flag,
    check_name,
    check_one_of,
    check_unique,
    check_whole,
    fields_of,
    finite_number,
    kind_of,
    list_of,
    names_of,
    shown,
)
from registry.errors import ContractError
from registry.prediction_task import TASK_KINDS, Classification, Task, task_from, task_to_dict

FORM: Final = 1
"""Of the JSON: another number means another meaning of its fields."""
MAX_SIDE: Final = 16_384
MAX_COLUMNS: Final = 5_000
MAX_CATEGORIES: Final = 1_000
MAX_TEXT_LENGTH: Final = 10_000_000
ColumnKind = Literal["number", "whole", "yes-no", "category", "text", "time"]
Truth = Literal["input", "event"]
RANGED_KINDS: Final = ("number", "whole")
NAMED_KINDS: Final = ("category", "text")
"""Kinds of columns that hold texts; the others hold numbers."""


@dataclass(frozen=True)
class Column:
    """One column of a table; a value outside `low` and `high`, or not among `known`, is answered and counted."""

    name: str
    kind: ColumnKind
    optional: bool = True
    low: float | None = None
    high: float | None = None
    known: tuple[str, ...] = ()
    """The categories that were seen in training."""
    kept: bool = True
    """Whether its values may be written down; one that is not kept is used for the answer alone."""
    profile: ColumnProfile | None = field(default=None, repr=False)
    """How its values were spread where the version was made; None for a version that did not note it."""

    def __post_init__(self) -> None:
        where = f"column {shown(self.name)}"
        check_name(self.name, "a column's name")
        check_one_of(self.kind, get_args(ColumnKind), f"{where}: kind")
        check_flag(self.optional, f"{where}: optional")
        check_flag(self.kept, f"{where}: kept")
        object.__setattr__(self, "known", names_of(self.known, f"{where}: known", 0, MAX_CATEGORIES))
        for name in ("low", "high"):
            limit = getattr(self, name)
            if limit is not None:
                object.__setattr__(self, name, finite_number(limit, f"{where}: {name}"))
                if self.kind not in RANGED_KINDS:
                    raise ContractError(f"{where}: {name} {limit!r} means nothing for {self.kind}; leave it out")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ContractError(f"{where}: low {self.low!r} is above high {self.high!r}; swap them")
        if self.known and self.kind != "category":
            raise ContractError(f"{where}: known categories mean nothing for {self.kind}; leave them out")
        if self.profile is not None:
            self.profile.check(f"{where}: profile", is_named=self.kind == "category")

    def to_dict(self) -> dict[str, Any]:
        """Everything that is known of it; a profile only where there is one, as contracts had none at first."""
        values = {**vars(self), "known": list(self.known)}
        if self.profile is None:
            del values["profile"]
            return values
        return {**values, "profile": self.profile.to_dict()}

    @classmethod
    def from_dict(cls, document: object, where: str) -> "Column":
        """The column that was written down; raises ContractError."""
        names = ("name", "kind", "optional", "low", "high", "known", "kept")
        values = fields_of(document, where, names, "profile")
        profile = document.get("profile") if isinstance(document, dict) else None
        return cls(
            **{**values, "known": tuple(list_of(values["known"], f"{where}.known"))},
            profile=None if profile is None else ColumnProfile.from_dict(profile, f"{where}.profile"),
        )


@dataclass(frozen=True)
class TableInputs:
    """Rows of a table, their columns in the model's order."""

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        if not 1 <= len(self.columns) <= MAX_COLUMNS:
            raise ContractError(f"inputs.columns: {len(self.columns)} of them; give 1 to {MAX_COLUMNS}")
        check_unique([column.name for column in self.columns], "inputs.columns")


@dataclass(frozen=True)
class ImageInputs:
    """Pictures of one size; with one channel they are grey."""

    height: int
    width: int
    channels: Literal[1, 3] = 1

    def __post_init__(self) -> None:
        check_whole(self.height, "inputs.height", MAX_SIDE)
        check_whole(self.width, "inputs.width", MAX_SIDE)
        check_whole(self.channels, "inputs.channels", 3)
        if self.channels not in (1, 3):
            raise ContractError(f"inputs.channels: {shown(self.channels)}; give 1 for grey or 3 for colour")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


@dataclass(frozen=True)
class TextInputs:
    """Texts of at most `longest` characters."""

    longest: int = 20_000

    def __post_init__(self) -> None:
        check_whole(self.longest, "inputs.longest", MAX_TEXT_LENGTH)


Inputs = TableInputs | ImageInputs | TextInputs


@dataclass(frozen=True)
class ModelContract:
    """What goes in and what comes out, and what counts as one observation of the truth.

    `truth` of the input means that equal inputs have one truth; of the event, that each has its own. `block_seconds` is
    a stretch of time whose labels are one observation where a rule says no other.
    """

    inputs: Inputs
    task: Task
    truth: Truth = "input"
    block_seconds: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.inputs, Inputs):
            raise ContractError(f"inputs: {shown(self.inputs)} are none; give {', '.join(_INPUT_KINDS)}")
        if not isinstance(self.task, Task):
            raise ContractError(f"task: {shown(self.task)} is none; give {' or '.join(TASK_KINDS)}")
        check_one_of(self.truth, get_args(Truth), "truth")
        if self.block_seconds is not None:
            check_whole(self.block_seconds, "block_seconds", 366 * 86_400)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes, in the order of its probabilities; raises ContractError where there are none."""
        return classification_task(self).names

    @property
    def counted_names(self) -> tuple[str, ...]:
        """What answers and truths are counted as: classes, or lengths of texts."""
        return self.task.counted_names

    def to_dict(self) -> dict[str, Any]:
        """The canonical form: everything is written down, also what has its default."""
        kind = next(name for name, made in _INPUT_KINDS.items() if isinstance(self.inputs, made))
        inputs: dict[str, Any] = {"kind": kind}
        if isinstance(self.inputs, TableInputs):
            inputs["columns"] = [column.to_dict() for column in self.inputs.columns]
        else:
            inputs |= vars(self.inputs)
        return {
            "form": FORM,
            "inputs": inputs,
            "task": task_to_dict(self.task),
            "truth": self.truth,
            "block_seconds": self.block_seconds,
        }

    def to_json(self) -> str:
        """The canonical form as one text: equal contracts have equal texts."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    @property
    def digest(self) -> str:
        """The sha256 of the canonical form."""
        return sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def from_dict(cls, document: object) -> "ModelContract":
        """The contract that was written down; raises ContractError naming field, value and what to do."""
        values = fields_of(document, "the contract", ("form", "inputs", "task", "truth", "block_seconds"))
        if type(values["form"]) is not int or values["form"] != FORM:
            raise ContractError(f"form: {shown(values['form'])} is not known here; upgrade, or register it again")
        return cls(_inputs_from(values["inputs"]), task_from(values["task"]), values["truth"], values["block_seconds"])

    @classmethod
    def from_json(cls, text: str) -> "ModelContract":
        """The same from its text."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ContractError(f"the contract {shown(text)} is not JSON ({error}); register it again") from error
        return cls.from_dict(document)


def same_rows(first: Inputs, second: Inputs) -> bool:
    """Whether a row of the one is a row of the other: columns alike in name, kind and order, whatever their values."""
    if isinstance(first, TableInputs) and isinstance(second, TableInputs):
        return [(each.name, each.kind) for each in first.columns] == [(each.name, each.kind) for each in second.columns]
    return first == second


def image_classifier(classes: tuple[str, ...], height: int, width: int) -> ModelContract:
    """The contract of a classifier of grey pictures, of which equal ones have one truth."""
    return ModelContract(ImageInputs(height, width), Classification(classes))


def image_inputs(contract: ModelContract) -> ImageInputs:
    """The pictures that a contract's models take; raises ContractError where they take something else."""
    if not isinstance(contract.inputs, ImageInputs):
        raise ContractError(f"inputs: {shown(contract.inputs)} are no pictures; give a contract of pictures")
    return contract.inputs


def classification_task(contract: ModelContract) -> Classification:
    """The classes that a contract's models tell apart; raises ContractError where they answer something else."""
    if not isinstance(contract.task, Classification):
        raise ContractError(f"task: {shown(contract.task)} has no classes; give a contract of classification")
    return contract.task


_INPUT_KINDS: Final[Mapping[str, type[Inputs]]] = {"table": TableInputs, "images": ImageInputs, "texts": TextInputs}


def _inputs_from(document: object) -> Inputs:
    kind = kind_of(document, "inputs", tuple(_INPUT_KINDS))
    if kind == "images":
        return ImageInputs(**fields_of(document, "inputs", ("height", "width", "channels"), "kind"))
    if kind == "texts":
        return TextInputs(**fields_of(document, "inputs", ("longest",), "kind"))
    listed = list_of(fields_of(document, "inputs", ("columns",), "kind")["columns"], "inputs.columns")
    return TableInputs(tuple(Column.from_dict(each, f"inputs.columns[{place}]") for place, each in enumerate(listed)))
