"""A model's contract: what goes in and what comes out, as data that travels with each version.

Whoever serves or watches a version reads it from there, and never from the code that trains the next one: a class that
was added since changes nothing about versions that did not know it.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Literal, get_args

from registry.errors import ContractError

FORM: Final = 1
"""Of the JSON: another number means another meaning of its fields."""
MAX_SIDE: Final = 16_384
MAX_COLUMNS: Final = 5_000
MAX_CATEGORIES: Final = 1_000
MAX_CLASSES: Final = 10_000
MAX_NAME_LENGTH: Final = 200
MAX_TEXT_LENGTH: Final = 10_000_000
ColumnKind = Literal["number", "whole", "yes-no", "category", "text", "time"]
Truth = Literal["input", "event"]
RANGED_KINDS: Final = ("number", "whole")


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

    def __post_init__(self) -> None:
        where = f"column {_shown(self.name)}"
        _check_name(self.name, "a column's name")
        _check_one_of(self.kind, get_args(ColumnKind), f"{where}: kind")
        _check_flag(self.optional, f"{where}: optional")
        _check_flag(self.kept, f"{where}: kept")
        object.__setattr__(self, "known", _names(self.known, f"{where}: known", 0, MAX_CATEGORIES))
        for name in ("low", "high"):
            limit = getattr(self, name)
            if limit is not None:
                object.__setattr__(self, name, _finite(limit, f"{where}: {name}"))
                if self.kind not in RANGED_KINDS:
                    raise ContractError(f"{where}: {name} {limit!r} means nothing for {self.kind}; leave it out")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ContractError(f"{where}: low {self.low!r} is above high {self.high!r}; swap them")
        if self.known and self.kind != "category":
            raise ContractError(f"{where}: known categories mean nothing for {self.kind}; leave them out")


@dataclass(frozen=True)
class TableInputs:
    """Rows of a table, their columns in the model's order."""

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        if not 1 <= len(self.columns) <= MAX_COLUMNS:
            raise ContractError(f"inputs.columns: {len(self.columns)} of them; give 1 to {MAX_COLUMNS}")
        _check_unique([column.name for column in self.columns], "inputs.columns")


@dataclass(frozen=True)
class ImageInputs:
    """Pictures of one size; with one channel they are grey."""

    height: int
    width: int
    channels: Literal[1, 3] = 1

    def __post_init__(self) -> None:
        _check_whole(self.height, "inputs.height", MAX_SIDE)
        _check_whole(self.width, "inputs.width", MAX_SIDE)
        _check_whole(self.channels, "inputs.channels", 3)
        if self.channels not in (1, 3):
            raise ContractError(f"inputs.channels: {_shown(self.channels)}; give 1 for grey or 3 for colour")


@dataclass(frozen=True)
class TextInputs:
    """Texts of at most `longest` characters."""

    longest: int = 20_000

    def __post_init__(self) -> None:
        _check_whole(self.longest, "inputs.longest", MAX_TEXT_LENGTH)


@dataclass(frozen=True)
class Classification:
    """The answer is one of several names. `costs` of (truth, answer); a pair that is not named costs 1."""

    names: tuple[str, ...]
    costs: Mapping[tuple[str, str], float] = field(default_factory=dict, hash=False)
    probabilities: bool = True
    """Whether the model gives one for every class; otherwise it only names a class."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", _names(self.names, "task.names", 2, MAX_CLASSES))
        _check_flag(self.probabilities, "task.probabilities")
        checked = {}
        for pair, cost in self.costs.items():
            truth, answer = pair
            for name in pair:
                if name not in self.names:
                    raise ContractError(f"task.costs: {_shown(name)} is no class; known: {', '.join(self.names)}")
            if truth == answer:
                raise ContractError(f"task.costs: a right answer, here {_shown(truth)}, costs nothing; leave it out")
            checked[truth, answer] = _finite(cost, f"task.costs of {_shown(truth)} answered as {_shown(answer)}")
            if checked[truth, answer] < 0:
                raise ContractError(f"task.costs: {cost!r} is below 0; give what a mistake costs, 0 or more")
        object.__setattr__(self, "costs", checked)


Inputs = TableInputs | ImageInputs | TextInputs
Task = Classification


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
            raise ContractError(f"inputs: {_shown(self.inputs)} are none; give {', '.join(_INPUT_KINDS)}")
        if not isinstance(self.task, Task):
            raise ContractError(f"task: {_shown(self.task)} is none; give classification")
        _check_one_of(self.truth, get_args(Truth), "truth")
        if self.block_seconds is not None:
            _check_whole(self.block_seconds, "block_seconds", 366 * 86_400)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes, in the order of its probabilities."""
        return self.task.names

    def to_dict(self) -> dict[str, Any]:
        """The canonical form: everything is written down, also what has its default."""
        kind = next(name for name, made in _INPUT_KINDS.items() if isinstance(self.inputs, made))
        inputs: dict[str, Any] = {"kind": kind}
        if isinstance(self.inputs, TableInputs):
            inputs["columns"] = [{**vars(column), "known": list(column.known)} for column in self.inputs.columns]
        else:
            inputs |= vars(self.inputs)
        costs = sorted([truth, answer, cost] for (truth, answer), cost in self.task.costs.items())
        task = {
            "kind": "classification",
            "names": list(self.task.names),
            "costs": costs,
            "probabilities": self.task.probabilities,
        }
        return {
            "form": FORM,
            "inputs": inputs,
            "task": task,
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
        values = _fields(document, "the contract", ("form", "inputs", "task", "truth", "block_seconds"))
        if type(values["form"]) is not int or values["form"] != FORM:
            raise ContractError(f"form: {_shown(values['form'])} is not known here; upgrade, or register it again")
        return cls(_inputs_from(values["inputs"]), _task_from(values["task"]), values["truth"], values["block_seconds"])

    @classmethod
    def from_json(cls, text: str) -> "ModelContract":
        """The same from its text."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ContractError(f"the contract {_shown(text)} is not JSON ({error}); register it again") from error
        return cls.from_dict(document)


def image_classifier(classes: tuple[str, ...], height: int, width: int) -> ModelContract:
    """The contract of a classifier of grey pictures, of which equal ones have one truth."""
    return ModelContract(ImageInputs(height, width), Classification(classes))


_INPUT_KINDS: Final[Mapping[str, type[Inputs]]] = {"table": TableInputs, "images": ImageInputs, "texts": TextInputs}


def _inputs_from(document: object) -> Inputs:
    kind = _kind(document, "inputs", tuple(_INPUT_KINDS))
    if kind == "images":
        return ImageInputs(**_fields(document, "inputs", ("height", "width", "channels"), "kind"))
    if kind == "texts":
        return TextInputs(**_fields(document, "inputs", ("longest",), "kind"))
    listed = _list(_fields(document, "inputs", ("columns",), "kind")["columns"], "inputs.columns")
    names = ("name", "kind", "optional", "low", "high", "known", "kept")
    columns = [_fields(each, f"inputs.columns[{place}]", names) for place, each in enumerate(listed)]
    return TableInputs(tuple(Column(**{**each, "known": tuple(_list(each["known"], "known"))}) for each in columns))


def _task_from(document: object) -> Task:
    _kind(document, "task", ("classification",))
    values = _fields(document, "task", ("names", "costs", "probabilities"), "kind")
    costs: dict[tuple[str, str], float] = {}
    for entry in _list(values["costs"], "task.costs"):
        if not isinstance(entry, list) or len(entry) != 3 or not all(isinstance(name, str) for name in entry[:2]):
            raise ContractError(f"task.costs: {_shown(entry)}; give [truth, answer, cost]")
        if (entry[0], entry[1]) in costs:
            raise ContractError(f"task.costs: {_shown(entry[:2])} is there twice; keep one")
        costs[entry[0], entry[1]] = entry[2]
    return Classification(tuple(_list(values["names"], "task.names")), costs, values["probabilities"])


def _kind(document: object, where: str, known: tuple[str, ...]) -> str:
    kind = document.get("kind") if isinstance(document, dict) else None
    if not isinstance(kind, str) or kind not in known:
        raise ContractError(f"{where}.kind: {_shown(kind)} is not known here; known: {', '.join(known)}")
    return kind


def _fields(document: object, where: str, names: tuple[str, ...], *passed: str) -> dict[str, Any]:
    """The values of exactly these fields; those in `passed` are read elsewhere."""
    if not isinstance(document, dict):
        raise ContractError(f"{where}: {_shown(document)} is no object; give one with {', '.join(names)}")
    if missing := [name for name in names if name not in document]:
        raise ContractError(f"{where}: no {', '.join(missing)}; a contract names every field")
    if unknown := [name for name in document if name not in (*names, *passed)]:
        raise ContractError(f"{where}: unknown field {_shown(unknown[0])}; known: {', '.join((*passed, *names))}")
    return {name: document[name] for name in names}


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ContractError(f"{where}: {_shown(value)} is no list; give one")
    return value


def _names(values: object, where: str, fewest: int, most: int) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, list | tuple):
        raise ContractError(f"{where}: {_shown(values)} is no list of names; give one")
    if not fewest <= len(values) <= most:
        raise ContractError(f"{where}: {len(values)} of them; give {fewest} to {most}")
    for value in values:
        _check_name(value, where)
    _check_unique(values, where)
    return tuple(values)


def _check_name(value: object, where: str) -> None:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_NAME_LENGTH:
        raise ContractError(f"{where}: {_shown(value)} is no name; give 1 to {MAX_NAME_LENGTH} characters")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ContractError(f"{where}: {_shown(value)} is half a character (UTF-8 cannot hold it)") from None


def _check_unique(names: "list[str] | tuple[str, ...]", where: str) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ContractError(f"{where}: {_shown(twice)} is there twice; keep one")


def _check_one_of(value: object, known: tuple[str, ...], where: str) -> None:
    if not isinstance(value, str) or value not in known:
        raise ContractError(f"{where}: {_shown(value)} is not known; known: {', '.join(known)}")


def _check_flag(value: object, where: str) -> None:
    if not isinstance(value, bool):
        raise ContractError(f"{where}: {_shown(value)}; give true or false")


def _check_whole(value: object, where: str, most: int) -> None:
    if type(value) is not int or not 1 <= value <= most:
        raise ContractError(f"{where}: {_shown(value)}; give a whole number from 1 to {most}")


def _finite(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ContractError(f"{where}: {_shown(value)} is no number; give one")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ContractError(f"{where}: {_shown(value)} is not finite; give a number that is")
    return number + 0.0  # -0.0 is written as 0.0


def _shown(value: object) -> str:
    return repr(value)[:80]
