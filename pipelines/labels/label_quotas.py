"""Label quotas: the share of a training that one provider or one kind of label may have.

A share holds givers of one kind against each other, so it binds only where there are several. One backend that sends
all the traffic, or one ledger that knows all the truth, is not cut: nobody is there to be protected from it, and what
it says would not be learnt. Those whom the operator trusts by name are never cut.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pipelines.data import FeedbackRows, hash_fraction
from pipelines.errors import DataError
from pipelines.labels.label_provenance import LabelOrigin

QuotaKind = Literal["corrections", "clients", "reviewers"]
QUOTA_KINDS: Final[tuple[QuotaKind, ...]] = ("corrections", "clients", "reviewers")
"""In the order they are applied: each looks at what the one before left."""
UNNAMED_PROVIDERS: Final = "givers without a name"


@dataclass(frozen=True)
class LabelQuotas:
    """The most that one giver, all corrections or one class may make of the rows; none binds below `rows`.

    Audits and reviews are free of the giver's quota: the platform picks the images and the operator's own people
    label them. So are the labels of feeds that the operator trusts.
    """

    giver: float = 0.2
    corrections: float = 0.5
    classes: float = 3.0
    """Times the median class."""
    rows: int = 50

    def __post_init__(self) -> None:
        for name in ("giver", "corrections"):
            if not 0 < getattr(self, name) <= 1:
                raise DataError(f"quota '{name}' is {getattr(self, name)}; give a share above 0, 1 for no limit")
        if self.classes < 1 or self.rows < 1:
            raise DataError(f"quotas are {self.classes} times the median and {self.rows} rows; give 1 or more of each")


def over_share(
    rows: FeedbackRows, origins: Sequence[LabelOrigin], kind: QuotaKind, quotas: LabelQuotas
) -> dict[int, str]:
    """The places beyond the share of their group, drawn by the hash of the feedback id, with a sentence for each."""
    groups = [_GROUP_OF[kind](origin) for origin in origins]
    if kind == "corrections":
        cap = _share_cap(Counter(_named_groups(groups)), groups.count(None), quotas.corrections, quotas.rows)
        return over_cap(rows, groups, cap, "raise retraining.quotas.corrections if they are right")
    bound = _provider_cap(groups, origins, quotas.giver, quotas.rows)
    remedy = "if this giver is right, name it in retraining.quotas.trusted or raise retraining.quotas.giver"
    return {} if bound is None else over_cap(rows, groups, bound, remedy)


def over_class_cap(rows: FeedbackRows, quotas: LabelQuotas) -> dict[int, str]:
    """The places beyond what one class may have."""
    sizes = sorted(Counter(rows.labels.tolist()).values()) or [0]
    middle = (sizes[(len(sizes) - 1) // 2] + sizes[len(sizes) // 2]) / 2
    cap = max(quotas.rows, int(quotas.classes * middle))
    return over_cap(rows, [f"class {label}" for label in rows.labels], cap, "raise retraining.quotas.classes if wanted")


def over_cap(rows: FeedbackRows, groups: Sequence[str | None], cap: int, remedy: str) -> dict[int, str]:
    """The places beyond the cap of each group, drawn by the hash of the feedback id, with a sentence for each."""
    members: dict[str, list[int]] = defaultdict(list)
    for place in sorted(range(len(rows)), key=lambda i: hash_fraction(rows.feedback_ids[i], "quota")):
        if (group := groups[place]) is not None:
            members[group].append(place)
    return {
        place: f"{group}: {len(places)} of {len(rows)} rows, {cap} are taken; {remedy}"
        for group, places in members.items()
        for place in places[cap:]
    }


def _correction(origin: LabelOrigin) -> str | None:
    return "corrections" if origin.source == "correction" else None


def _client(origin: LabelOrigin) -> str | None:
    return None if origin.is_internal or origin.from_trusted_feed or not origin.client else f"client '{origin.client}'"


def _reviewer(origin: LabelOrigin) -> str | None:
    if origin.is_internal or origin.from_trusted_feed:
        return None
    if origin.reviewer:
        return f"reviewer '{origin.reviewer}'"
    return None if origin.client else UNNAMED_PROVIDERS


_GROUP_OF: Final[dict[QuotaKind, Callable[[LabelOrigin], str | None]]] = {
    "corrections": _correction,
    "clients": _client,
    "reviewers": _reviewer,
}


def _named_groups(groups: Sequence[str | None]) -> list[str]:
    return [group for group in groups if group is not None]


def _provider_cap(groups: Sequence[str | None], origins: Sequence[LabelOrigin], share: float, floor: int) -> int | None:
    """The most rows per giver of a kind; None where there are not several to hold against each other.

    Givers of no more than `floor` rows are a crowd, and so are the nameless and the trusted. Beside a crowd that gave
    less than `floor` rows together (somebody who tries things out), a lone giver is all there is. A few large ones
    beside so small a crowd cannot keep a share that needs more of them: where it would leave less than half of all,
    none of them is cut below the second largest.
    """
    sizes = Counter(_named_groups(groups))
    free = len(groups) - sizes.total()
    held = _share_cap(sizes, free, share, floor)
    compared, crowd = _comparable_sizes(groups, origins, floor)
    weighty = sorted((size for size in compared.values() if size > floor), reverse=True)
    if compared.total() - sum(weighty) + crowd >= floor or not weighty:
        return held
    if len(weighty) == 1:
        return None
    left = free + sum(min(size, held) for size in sizes.values())
    if len(weighty) < math.ceil(1 / share) and 2 * left < len(groups):
        return max(held, weighty[1])
    return held


def _comparable_sizes(
    groups: Sequence[str | None], origins: Sequence[LabelOrigin], floor: int
) -> tuple[Counter[str], int]:
    """The rows of givers who are held against each other, and those of the trusted and the nameless beside them.

    Who knows truths is compared with others who do, not with people who report errors: those have a share of their own.
    """
    pairs = [(group, origin) for group, origin in zip(groups, origins, strict=True) if not origin.is_internal]
    truths = Counter(group for group, origin in pairs if group is not None and origin.source == "delayed")
    if max(truths.values(), default=0) > floor:
        pairs = [(group, origin) for group, origin in pairs if origin.source == "delayed" or origin.from_trusted_feed]
    return Counter(_named_groups([group for group, _ in pairs])), sum(group is None for group, _ in pairs)


def _share_cap(sizes: Counter[str], free: int, share: float, floor: int) -> int:
    """The most rows per group so that none is more than its share of what remains, beside rows that are free."""
    cap = max(sizes.values(), default=0)
    while cap > floor:
        fair = max(floor, int(share * (free + sum(min(size, cap) for size in sizes.values()))))
        if fair >= cap:
            break
        cap = fair
    return max(cap, floor)
