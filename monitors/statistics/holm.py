"""Holm's step-down procedure (1979): many hypotheses share one chance of any false rejection."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

Key = TypeVar("Key", str, int)


def holm_levels(
    hypotheses: Iterable[Key], level: float, reject: Callable[[Sequence[Key], float], Collection[Key]]
) -> dict[Key, float]:
    """The level at which each hypothesis is tested in the end.

    Those that are left share the level in equal parts; `reject` says which of them are rejected at such a part, and
    these leave, until none does.
    """
    levels, left = dict[Key, float](), list(hypotheses)
    while left:
        part = level / len(left)
        levels |= dict.fromkeys(left, part)
        rejected = reject(left, part)
        if not rejected:
            break
        left = [key for key in left if key not in rejected]
    return levels


def holm_rejections(p_values: Sequence[float], level: float) -> list[bool]:
    """Which hypotheses are rejected by their p-values, when any false rejection has at most the chance `level`."""
    rejections = [False] * len(p_values)

    def reject_smallest(left: Sequence[int], _part: float) -> tuple[int, ...]:
        smallest = min(left, key=lambda place: p_values[place])
        if p_values[smallest] * len(left) > level:
            return ()
        rejections[smallest] = True
        return (smallest,)

    holm_levels(range(len(p_values)), level, reject_smallest)
    return rejections
