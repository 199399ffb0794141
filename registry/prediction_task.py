"""What a model's answers are: one of several classes, or a text over an alphabet, and how wrong a wrong one is."""

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, get_args

from registry.contract_fields import (
    check_flag,
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
from registry.edit_distance import edit_distance
from registry.errors import ContractError

MAX_CLASSES: Final = 10_000
MAX_ALPHABET: Final = 10_000
MAX_SEQUENCE_LENGTH: Final = 1_000
MAX_SEQUENCE_BYTES: Final = 1_500
"""In UTF-8: labels that wait for their prediction are in an index, of which a row of PostgreSQL holds 2 704 bytes."""
UNNAMED_COST: Final = 1.0
"""What a mistake costs that `costs` do not name."""
SequenceMeasure = Literal["exact", "edits"]
TASK_KINDS: Final = ("classification", "sequence")
MAX_SEGMENTS: Final = 20
"""Texts are counted by length, several lengths together where there are more."""
OTHER_TEXT: Final = "another text"
"""What a wrong text is counted as whose length is that of the true one."""
LOSS_PREFIX: Final = "wrong by "
"""What a wrong text is counted as where a mistake costs its edits: this and its loss, rounded up to tenths."""
LOSS_STEPS: Final = 10


@dataclass(frozen=True)
class Classification:
    """The answer is one of several names. `costs` of (truth, answer); a pair that is not named costs 1."""

    names: tuple[str, ...]
    costs: Mapping[tuple[str, str], float] = field(default_factory=dict, hash=False)
    probabilities: bool = True
    """Whether the model gives one for every class; otherwise it only names a class."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", names_of(self.names, "task.names", 2, MAX_CLASSES))
        check_flag(self.probabilities, "task.probabilities")
        checked = {}
        for pair, cost in self.costs.items():
            truth, answer = pair
            for name in pair:
                if name not in self.names:
                    raise ContractError(f"task.costs: {shown(name)} is no class; known: {', '.join(self.names)}")
            if truth == answer:
                raise ContractError(f"task.costs: a right answer, here {shown(truth)}, costs nothing; leave it out")
            checked[truth, answer] = finite_number(cost, f"task.costs of {shown(truth)} answered as {shown(answer)}")
            if checked[truth, answer] < 0:
                raise ContractError(f"task.costs: {cost!r} is below 0; give what a mistake costs, 0 or more")
        object.__setattr__(self, "costs", checked)
        if not self.largest_cost:
            raise ContractError("task.costs: every mistake costs 0; give at least one that costs more, or no costs")

    @property
    def largest_cost(self) -> float:
        """What the worst mistake costs: of those that are named, and 1 where some are not."""
        unnamed = len(self.names) * (len(self.names) - 1) > len(self.costs)
        return max([*self.costs.values(), *([UNNAMED_COST] if unnamed else [])])

    def loss(self, truth: str, answer: str) -> float:
        """How wrong an answer is: 0 where it is right, else its cost over the largest one, so 1 for the worst mistake.

        A class that is none of these, as of another version, costs what a pair that is not named does.
        """
        if truth == answer:
            return 0.0
        return min(1.0, self.costs.get((truth, answer), UNNAMED_COST) / self.largest_cost)

    @property
    def has_costs(self) -> bool:
        """Whether mistakes cost differently."""
        return bool(self.costs)

    @property
    def counted_names(self) -> tuple[str, ...]:
        """What answers and truths are counted as: the classes."""
        return self.names

    @property
    def allowed(self) -> str:
        """What a label may be, in words."""
        return f"one of {', '.join(self.names)}"

    def canonical(self, label: str) -> str | None:
        """A label as it is kept; None for what is no class."""
        return label if label in self.names else None

    def segment(self, answer: str) -> str:
        """What an answer is counted as before its truth is known: itself."""
        return answer

    def counted(self, truth: str, answer: str) -> tuple[str, str]:
        """What a truth and its answer are counted as: themselves."""
        return truth, answer

    def counted_loss(self, truth: str, answer: str) -> float:
        """How wrong an answer is by what the two are counted as."""
        return self.loss(truth, answer)

    def number(self, label: str) -> int:
        """The whole number that stands for a class among labelled rows: its place; raises ContractError."""
        if label not in self.names:
            raise ContractError(f"{shown(label)} is no class; known: {', '.join(self.names)}")
        return self.names.index(label)

    def label(self, number: int) -> str:
        """The class of such a number."""
        return self.names[number]


@dataclass(frozen=True)
class Sequence:
    """The answer is a text of at most `longest` characters of an alphabet, such as the digits of an amount.

    A wrong answer costs 1 where `measure` is exact; where it is edits, the fewest characters that must be inserted,
    deleted or replaced, over the length of the longer text.
    """

    alphabet: str
    longest: int
    measure: SequenceMeasure = "exact"

    def __post_init__(self) -> None:
        if not isinstance(self.alphabet, str) or not 1 <= len(self.alphabet) <= MAX_ALPHABET:
            raise ContractError(f"task.alphabet: {shown(self.alphabet)}; give 1 to {MAX_ALPHABET} characters as a text")
        check_unique(list(self.alphabet), "task.alphabet")
        if not self.alphabet.isprintable():
            odd = next(character for character in self.alphabet if not character.isprintable())
            raise ContractError(f"task.alphabet: {shown(odd)} cannot be printed; leave it out")
        check_whole(self.longest, "task.longest", MAX_SEQUENCE_LENGTH)
        widest = max(len(character.encode()) for character in self.alphabet)
        if self.longest * widest > MAX_SEQUENCE_BYTES:
            raise ContractError(
                f"task.longest: {self.longest} characters of up to {widest} bytes; give {MAX_SEQUENCE_BYTES // widest} "
                f"or fewer, so that a text has at most {MAX_SEQUENCE_BYTES} bytes"
            )
        check_one_of(self.measure, get_args(SequenceMeasure), "task.measure")

    def loss(self, truth: str, answer: str) -> float:
        """How wrong an answer is: 0 where it is right, up to 1. It may be of another version, with other characters."""
        if truth == answer:
            return 0.0
        longer = max(len(truth), len(answer))
        if self.measure == "exact" or longer > MAX_SEQUENCE_LENGTH:
            return 1.0
        return edit_distance(truth, answer) / longer

    @property
    def has_costs(self) -> bool:
        """Whether mistakes cost differently."""
        return self.measure == "edits"

    @cached_property
    def segments(self) -> tuple[str, ...]:
        """What texts are counted as: their length, or a range of lengths; a text may also be empty, or too long."""
        lengths = range(1, self.longest + 1)
        step = -(-self.longest // MAX_SEGMENTS)
        ranges = [lengths[first : first + step] for first in range(0, self.longest, step)]
        named = [f"length {each[0]}" if len(each) == 1 else f"length {each[0]} to {each[-1]}" for each in ranges]
        return ("empty", *named, "longer")

    @cached_property
    def counted_names(self) -> tuple[str, ...]:
        """All that answers and truths are counted as: lengths, and what a wrong text is."""
        if self.measure == "exact":
            return (*self.segments, OTHER_TEXT)
        return (*self.segments, *(f"{LOSS_PREFIX}{step / LOSS_STEPS:g}" for step in range(1, LOSS_STEPS + 1)))

    @property
    def allowed(self) -> str:
        """What a label may be, in words."""
        return f"a text of 1 to {self.longest} of the characters {self.alphabet}"

    def canonical(self, label: str) -> str | None:
        """A label as it is kept, without space around it; None for what cannot be an answer.

        Accents are composed (NFC) where the alphabet has such characters, else as they came, else decomposed (NFD).
        """
        text = label if " " in self.alphabet else label.strip()
        forms = (unicodedata.normalize("NFC", text), text, unicodedata.normalize("NFD", text))
        return next(
            (form for form in forms if 1 <= len(form) <= self.longest and set(form) <= set(self.alphabet)), None
        )

    def segment(self, answer: str) -> str:
        """What an answer is counted as before its truth is known: its length."""
        if not answer:
            return self.segments[0]
        if len(answer) > self.longest:
            return self.segments[-1]
        return self.segments[1 + (len(answer) - 1) // -(-self.longest // MAX_SEGMENTS)]

    def counted(self, truth: str, answer: str) -> tuple[str, str]:
        """What a truth and its answer are counted as: the same where the answer is right, and else never."""
        of_truth, of_answer = self.segment(truth), self.segment(answer)
        if truth == answer:
            return of_truth, of_truth
        if self.measure == "edits":
            tenths = max(1, math.ceil(self.loss(truth, answer) * LOSS_STEPS - 1e-9))
            return of_truth, f"{LOSS_PREFIX}{tenths / LOSS_STEPS:g}"
        return of_truth, OTHER_TEXT if of_answer == of_truth else of_answer

    def counted_loss(self, truth: str, answer: str) -> float:
        """How wrong an answer is by what the two are counted as: where edits cost, rounded up to tenths."""
        if truth == answer:
            return 0.0
        return float(answer.removeprefix(LOSS_PREFIX)) if answer.startswith(LOSS_PREFIX) else 1.0

    def number(self, label: str) -> int:
        """The whole number that stands for a text among labelled rows, its characters as digits; raises ContractError.

        Texts of so many characters of such an alphabet must fit into 63 bits, as an amount of 18 digits does.
        """
        if (len(self.alphabet) + 1) ** self.longest >= 2**63:
            raise ContractError(
                f"task.longest: {self.longest} of {len(self.alphabet)} characters are more texts than can be numbered; "
                "give a pipeline that trains a shorter length or a smaller alphabet"
            )
        if label and self.canonical(label) != label:
            raise ContractError(f"{shown(label)} is no answer of this task; give {self.allowed}")
        number = 0
        for character in label:
            number = number * (len(self.alphabet) + 1) + self.alphabet.index(character) + 1
        return number

    def label(self, number: int) -> str:
        """The text of such a number."""
        characters = []
        while number:
            number, digit = divmod(number, len(self.alphabet) + 1)
            characters.append(self.alphabet[digit - 1])
        return "".join(reversed(characters))


Task = Classification | Sequence


def task_to_dict(task: Task) -> dict[str, Any]:
    """A task as JSON, of which `task_from` makes it again."""
    if isinstance(task, Sequence):
        names = ("alphabet", "longest", "measure")
        return {"kind": "sequence", **{name: getattr(task, name) for name in names}}
    return {
        "kind": "classification",
        "names": list(task.names),
        "costs": sorted([truth, answer, cost] for (truth, answer), cost in task.costs.items()),
        "probabilities": task.probabilities,
    }


def task_from(document: object) -> Task:
    """The task that this JSON describes; raises ContractError for anything else."""
    if kind_of(document, "task", TASK_KINDS) == "sequence":
        return Sequence(**fields_of(document, "task", ("alphabet", "longest", "measure"), "kind"))
    values = fields_of(document, "task", ("names", "costs", "probabilities"), "kind")
    costs: dict[tuple[str, str], float] = {}
    for entry in list_of(values["costs"], "task.costs"):
        if not isinstance(entry, list) or len(entry) != 3 or not all(isinstance(name, str) for name in entry[:2]):
            raise ContractError(f"task.costs: {shown(entry)}; give [truth, answer, cost]")
        if (entry[0], entry[1]) in costs:
            raise ContractError(f"task.costs: {shown(entry[:2])} is there twice; keep one")
        costs[entry[0], entry[1]] = entry[2]
    return Classification(tuple(list_of(values["names"], "task.names")), costs, values["probabilities"])
