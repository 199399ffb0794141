"""What a label of a model may say: an answer of any of its versions that served or were tried."""

from collections.abc import Sequence
from dataclasses import dataclass

from registry.prediction_task import Classification, Task


@dataclass(frozen=True)
class LabelRules:
    """The tasks of a model's versions, the oldest version's first."""

    tasks: tuple[Task, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes to choose from; none where answers are texts."""
        named = (task.names for task in self.tasks if isinstance(task, Classification))
        return tuple(dict.fromkeys(name for names in named for name in names))

    @property
    def counted_names(self) -> tuple[str, ...]:
        """All that labels and answers are counted as."""
        return tuple(dict.fromkeys(name for task in self.tasks for name in task.counted_names))

    @property
    def hint(self) -> str:
        """What a label may be, in words."""
        texts = [task.allowed for task in self.tasks if not isinstance(task, Classification)]
        return ", or ".join(dict.fromkeys([*([", ".join(self.classes)] if self.classes else []), *texts]))

    def canonical(self, label: str) -> str | None:
        """The label as it is kept; None where no version could answer so."""
        kept = (task.canonical(label) for task in self.tasks)
        return next((each for each in kept if each is not None), None)

    def refusal(self, label: str, about: str = "") -> str | None:
        """Why a label, `about` such a thing, is refused; None for one that is taken."""
        if self.canonical(label) is not None:
            return None
        what = "is not a class" if self.classes else "cannot be an answer"
        return f"label {label!r}{f' for {about}' if about else ''} {what}; allowed: {self.hint}"


def label_rules(tasks: Sequence[Task]) -> LabelRules:
    """The rules of these versions' tasks, each task once."""
    return LabelRules(tuple(dict.fromkeys(tasks)))
