"""Who is held to a share: one giver among several of its kind, never one who is all there is or who is trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from pipelines.data import FeedbackRows
from pipelines.errors import DataError
from pipelines.labels.label_provenance import LabelOrigin, LabelSource
from pipelines.labels.label_quotas import QUOTA_KINDS, LabelQuotas, over_class_cap, over_share
from tests.support.image_feedback import image_feedback

LIMITS = LabelQuotas()


def rows_of(count: int, labels: Sequence[int] | None = None) -> FeedbackRows:
    images = np.zeros((count, 2, 2), dtype=np.uint8)
    given = np.array(labels if labels is not None else [0] * count, dtype=np.int64)
    return image_feedback(images, given, "feedback", tuple(f"f{i}" for i in range(count)))


def given(
    count: int, client: str = "", reviewer: str = "", source: LabelSource = "delayed", *, trusted: bool = False
) -> list[LabelOrigin]:
    return [LabelOrigin(source, reviewer, client, from_trusted_feed=trusted)] * count


def kept(*origins: list[LabelOrigin], quotas: LabelQuotas = LIMITS) -> Counter[tuple[str, str]]:
    """How many rows of each client and reviewer pass all shares, applied one after the other."""
    left = [origin for each in origins for origin in each]
    for kind in QUOTA_KINDS:
        cut = over_share(rows_of(len(left)), left, kind, quotas)
        left = [origin for place, origin in enumerate(left) if place not in cut]
    return Counter((origin.client, origin.reviewer) for origin in left)


def crowd(count: int, each: int = 40) -> list[LabelOrigin]:
    return [origin for n in range(count) for origin in given(each, f"client {n}")]


@pytest.mark.parametrize(
    "feed",
    [
        given(2_000, "backend"),
        given(2_000),
        given(2_000, "backend", "ledger"),
        given(2_000, reviewer="ledger"),
        [LabelOrigin("delayed", "ledger", f"client {n % 700}") for n in range(2_000)],
    ],
    ids=["one client", "nobody named", "one client and reviewer", "one reviewer", "one reviewer of many clients"],
)
@pytest.mark.parametrize(
    "beside",
    [
        [],
        given(300, "backend", "ann", "audit"),
        given(100, "backend", "bob", "review"),
        given(30, "laptop", "developer"),
        given(30, "laptop", "developer", "correction"),
        [LabelOrigin("correction", "", f"client {n}") for n in range(600)],
    ],
    ids=["alone", "audits", "reviews", "a developer", "a complaint", "many complaints"],
)
def test_who_gives_all_the_truth_there_is_is_cut_by_nobody(feed: list[LabelOrigin], beside: list[LabelOrigin]) -> None:
    through = kept(feed, beside)
    truths = sum((Counter((each.client, each.reviewer) for each in feed)).values())
    assert sum(through.values()) >= truths
    assert sum(through[who] for who in {(each.client, each.reviewer) for each in feed}) >= truths


def test_two_or_three_backends_are_not_starved_by_a_share_that_needs_five() -> None:
    assert kept(given(1_000, "web"), given(1_000, "app")) == {("web", ""): 1_000, ("app", ""): 1_000}
    three = kept(given(1_000, "web"), given(500, "app"), given(500, "till"), given(10, "laptop"))
    assert three == {("web", ""): 500, ("app", ""): 500, ("till", ""): 500, ("laptop", ""): 10}
    assert kept(given(1_000, reviewer="a"), given(900, reviewer="b"))[("", "a")] == 900


def test_many_alike_are_all_heard() -> None:
    assert kept(crowd(12, 200)).total() == 2_400


@pytest.mark.parametrize("honest", [crowd(10), given(400), crowd(5) + given(200)], ids=["many", "nameless", "both"])
def test_one_client_among_many_who_floods_has_its_share(honest: list[LabelOrigin]) -> None:
    assert kept(honest, given(1_000, "flood"))[("flood", "")] == 100


def test_what_the_crowd_gave_is_whole_beside_a_flood() -> None:
    assert kept(crowd(10), given(1_000, "flood")).total() == 500


@pytest.mark.parametrize("flood", [1_000, 50_000])
def test_a_flood_does_not_free_itself_by_being_large(flood: int) -> None:
    assert kept(crowd(10), given(flood, "flood"))[("flood", "")] == 100


def test_two_who_flood_together_are_still_held_to_the_crowd() -> None:
    through = kept(crowd(10), given(1_000, "one"), given(1_000, "two"))
    assert through[("one", "")] + through[("two", "")] <= 0.4 * through.total() + 1


def test_one_reviewer_among_several_at_a_single_client_has_a_share() -> None:
    honest = [origin for n in range(6) for origin in given(40, "backend", f"reviewer {n}")]
    through = kept(honest, given(500, "backend", "liar"))
    assert through[("backend", "liar")] <= 0.2 * through.total()
    assert through.total() - through[("backend", "liar")] == len(honest)


def test_a_trusted_feed_is_whole_and_the_nameless_beside_it_have_a_share() -> None:
    through = kept(given(500, "backend", "ledger", trusted=True), given(2_000))
    assert through == {("backend", "ledger"): 500, ("", ""): 125}
    through = kept(given(500, "backend", "ledger", trusted=True), given(2_000, "other", "somebody"))
    assert through == {("backend", "ledger"): 500, ("other", "somebody"): 125}


def test_a_trusted_feed_among_many_clients_is_whole_however_much_it_gives() -> None:
    through = kept(crowd(10), given(3_000, "backend", "ledger", trusted=True))
    assert through[("backend", "ledger")] == 3_000
    assert through.total() == 3_400


def test_trust_does_not_free_corrections_from_theirs() -> None:
    through = kept(given(100, "a", "b", "audit"), given(400, "backend", "desk", "correction", trusted=True))
    assert through[("backend", "desk")] == 100


def test_who_is_cut_is_named_with_the_remedy() -> None:
    origins = [*crowd(10), *given(1_000, "flood")]
    [said] = set(over_share(rows_of(len(origins)), origins, "clients", LIMITS).values())
    assert said.startswith("client 'flood': 1000 of 1400 rows, 100 are taken; if this giver is right, name it in ")
    assert said.endswith("retraining.quotas.trusted or raise retraining.quotas.giver")


def test_a_class_has_its_share_whoever_gave_it() -> None:
    cut = over_class_cap(rows_of(470, [0] * 400 + [1] * 40 + [2] * 30), LabelQuotas(rows=1))
    assert len(cut) == 280
    assert all("class 0: 400 of 470 rows, 120 are taken" in sentence for sentence in cut.values())
    assert over_class_cap(rows_of(0), LIMITS) == {}


def test_shares_beyond_one_are_refused() -> None:
    with pytest.raises(DataError, match=r"2\.0"):
        LabelQuotas(giver=2.0)
