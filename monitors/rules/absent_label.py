"""What it means that no label came in time, as alerts.yaml states it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Final

from pydantic import Field

from monitors.rules.channel_config import StrictModel
from monitors.rules.quantities import duration_text
from monitors.rules.rule import PositiveDuration, Rule

WRITING_TIME: Final = timedelta(hours=1)
"""By then the labels of a moment are surely written: rules read answers that are this much older than `after`."""


class AbsentLabel(StrictModel):
    """The label of an answer that has got none when it is so old."""

    label: Annotated[str, Field(min_length=1, max_length=64)]
    after: PositiveDuration

    @property
    def mature(self) -> timedelta:
        """How old answers are whose labels are all there, whether they came or not."""
        return self.after + WRITING_TIME

    def matured_rules(self, rules: Sequence[Rule]) -> tuple[Rule, ...]:
        """The rules, none of which reads delayed labels before those that never come are there.

        Until then nearly all labels are of one kind, of those that left. Raises ValueError for a rule that says less.
        """
        return tuple(self._matured(rule) for rule in rules)

    def _matured(self, rule: Rule) -> Rule:
        if "mature" not in rule.metric_spec.options:
            if rule.reads_labels and "delayed" in rule.sources:
                raise ValueError(
                    f"rule {rule.name!r} reads delayed labels as they come, for {rule.metric} cannot wait for those "
                    "that `absent` stands for; write `sources: [audit]`"
                )
            return rule
        if rule.mature is not None and rule.mature < self.mature:
            raise ValueError(
                f"rule {rule.name!r} reads delayed labels of answers {duration_text(rule.mature)} old, when those that "
                f"`absent` stands for are yet to come; write `mature: {duration_text(self.mature)}` or more, or nothing"
            )
        return rule if rule.mature is not None else rule.model_copy(update={"mature": self.mature})
