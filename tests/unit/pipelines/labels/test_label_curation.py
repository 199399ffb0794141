"""What may train: trust, quotas, conflicts, doubts, and honest labels of a changed world."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.batch import Batch
from pipelines.data import Examples, FeedbackRows, image_batch, images_of
from pipelines.datasets.optdigits import load_optdigits
from pipelines.errors import DataError
from pipelines.image.image_examples import image_examples
from pipelines.image.near_duplicates import fingerprint
from pipelines.image.simulated_shift import simulate_scanner_shift
from pipelines.inputs.image_codec import ImageCodec
from pipelines.labels.label_curation import (
    CurationResult,
    ExcludedLabel,
    ExclusionReason,
    LabelQuotas,
    curate_holdout,
    curate_training_rows,
    exclude_known,
    exclusion_counts,
    label_lineage,
    resolve_conflicts,
)
from pipelines.labels.label_provenance import LabelContext, LabelOrigin, LabelSource, PredictFn
from tests.support.bars import draw_bars, seen_again
from tests.support.image_feedback import image_feedback

NOTHING = image_batch(np.zeros((0, 12, 12), dtype=np.uint8))
NO_DIGIT = image_batch(np.zeros((0, 28, 28), dtype=np.uint8))
CODEC = ImageCodec(28, 28)
NO_LIMITS = LabelQuotas(giver=1.0, corrections=1.0, classes=1e6)


def feedback(images: Examples, labels: Sequence[int] | None = None) -> FeedbackRows:
    """The images as labelled feedback with ids f0, f1 and so on."""
    given = images.labels if labels is None else np.array(labels, dtype=np.int64)
    return image_feedback(images_of(images.batch), given, "feedback", tuple(f"f{i}" for i in range(len(images))))


def reasons(set_aside: Sequence[ExcludedLabel]) -> dict[str, str]:
    return {each.feedback_id: each.reason for each in set_aside}


def asked(origins: Sequence[LabelOrigin], champion: PredictFn | None = None) -> LabelContext:
    return LabelContext(champion, CODEC, {f"f{i}": origin for i, origin in enumerate(origins)})


def labelled_thrice(*given: tuple[LabelSource, int]) -> tuple[FeedbackRows, LabelContext]:
    """One image with a label from each source."""
    images = draw_bars(1, 1)
    same = Examples.concat("same", *[images] * len(given))
    return feedback(same, [label for _, label in given]), asked([LabelOrigin(source) for source, _ in given])


def test_labels_that_agree_count_once_by_the_most_trusted() -> None:
    rows, aside = resolve_conflicts(*labelled_thrice(("correction", 1), ("audit", 1), ("delayed", 1)))
    assert rows.feedback_ids == ("f1",)
    assert reasons(aside) == {"f0": "repeated", "f2": "repeated"}


def test_reviewers_who_disagree_are_both_set_aside() -> None:
    rows, aside = resolve_conflicts(*labelled_thrice(("audit", 1), ("delayed", 0)))
    assert len(rows) == 0
    assert reasons(aside) == {"f0": "conflict", "f1": "conflict"}
    assert aside[0].detail == "class 1 is contradicted by f1"
    rows, aside = resolve_conflicts(*labelled_thrice(("correction", 1), ("correction", 0), ("correction", 0)))
    assert (len(rows), len(aside)) == (0, 3)


def test_a_correction_cannot_take_out_a_trusted_label_by_denying_it() -> None:
    rows, aside = resolve_conflicts(*labelled_thrice(("correction", 0), ("delayed", 1), ("correction", 1)))
    assert rows.feedback_ids == ("f1",)
    assert reasons(aside) == {"f0": "conflict", "f2": "repeated"}


def reviewed(*given: tuple[LabelSource, int, float]) -> tuple[FeedbackRows, LabelContext]:
    """One image with labels of these sources, given at these times."""
    images = draw_bars(1, 1)
    rows = feedback(Examples.concat("same", *[images] * len(given)), [label for _, label, _ in given])
    return rows, asked([LabelOrigin(source, labelled_at=at) for source, _, at in given])


def test_the_last_review_is_the_truth_whoever_contradicts_it() -> None:
    given = reviewed(("audit", 1, 9.0), ("review", 0, 5.0), ("review", 1, 4.0), ("correction", 0, 9.0))
    rows, aside = resolve_conflicts(*given)
    assert (rows.feedback_ids, rows.labels.tolist()) == (("f1",), [0])
    assert reasons(aside) == {"f0": "overruled", "f2": "overruled", "f3": "repeated"}
    assert "review f1" in aside[0].detail


def test_doubt_is_greatest_where_nothing_stands() -> None:
    _, quarrel = resolve_conflicts(*labelled_thrice(("audit", 1), ("delayed", 0)))
    _, denied = resolve_conflicts(*labelled_thrice(("audit", 1), ("correction", 0)))
    assert [each.doubt for each in quarrel] == [1.0, 1.0]
    assert [each.doubt for each in denied] == [0.5]


def test_a_thousand_labels_of_one_picture_are_not_listed_a_thousand_times() -> None:
    _, aside = resolve_conflicts(*labelled_thrice(*[("correction", n % 2) for n in range(1_000)]))
    assert len(aside) == 1_000
    assert max(len(each.detail) for each in aside) < 100
    assert aside[0].detail.endswith("and 497 more")


def test_images_that_the_base_data_holds_are_left() -> None:
    rows = feedback(draw_bars(4, 1))
    left, aside = exclude_known(rows, {rows.ids[2]})
    assert left.feedback_ids == ("f0", "f1", "f3")
    assert reasons(aside) == {"f2": "known image"}


def test_what_looks_like_a_protected_image_never_trains() -> None:
    digits = load_optdigits()
    held = images_of(digits.batch)[:40]
    seen = image_examples(seen_again(held, 5), digits.labels[:40], "seen again")
    rows = feedback(Examples.concat("all", seen, digits.take(range(100, 130))))
    curated = curate_training_rows(rows, asked([]), image_batch(held))
    assert set(reasons(curated.excluded)) == {f"f{i}" for i in range(40)}
    assert set(reasons(curated.excluded).values()) == {"near-duplicate of a held image"}


def test_trust_becomes_weight() -> None:
    rows = feedback(draw_bars(3, 1))
    curated = curate_training_rows(
        rows, asked([LabelOrigin("review"), LabelOrigin("delayed"), LabelOrigin("correction")]), NOTHING
    )
    assert curated.weights.tolist() == pytest.approx([1.0, 0.9, 0.5])


def test_unknown_origins_are_audits_unless_they_may_not_judge() -> None:
    rows = draw_bars(2, 1)
    given = image_feedback(images_of(rows.batch), rows.labels, "feedback", ("a", "b"), (False, True))
    assert curate_training_rows(given, LabelContext(None, CODEC), NOTHING).weights.tolist() == [1.0, 0.5]


def test_a_flood_from_one_client_is_cut_to_its_part() -> None:
    origins = [LabelOrigin("delayed", client=f"client {i % 10}") for i in range(400)]
    origins += [LabelOrigin("delayed", reviewer=f"name {i}", client="flood") for i in range(1_000)]
    curated = curate_training_rows(feedback(draw_bars(1_400, 1)), asked(origins), NOTHING)
    given = Counter(origins[int(i[1:])].client for i in curated.rows.feedback_ids)
    assert given["flood"] == 100
    assert given.total() == 500
    assert {each.reason for each in curated.excluded} == {"over quota"}
    assert curated.excluded[0].detail.startswith("client 'flood': 1000 of 1400 rows, 100 are taken")


def test_a_reviewer_and_the_nameless_have_their_parts_too() -> None:
    origins = [LabelOrigin("audit") for _ in range(300)]
    origins += [LabelOrigin("delayed", reviewer="one", client=f"client {i}") for i in range(200)]
    origins += [LabelOrigin("delayed") for _ in range(200)]
    curated = curate_training_rows(feedback(draw_bars(700, 1)), asked(origins), NOTHING)
    given = Counter((origins[int(i[1:])].source, origins[int(i[1:])].reviewer) for i in curated.rows.feedback_ids)
    assert given == {("audit", ""): 300, ("delayed", "one"): 100, ("delayed", ""): 100}


def test_corrections_together_make_at_most_half() -> None:
    origins = [LabelOrigin("audit") for _ in range(100)]
    origins += [LabelOrigin("correction", client=f"client {i}") for i in range(300)]
    curated = curate_training_rows(feedback(draw_bars(400, 1)), asked(origins), NOTHING)
    assert sorted(Counter(curated.weights.tolist()).values()) == [100, 100]


def test_a_few_rows_are_below_every_quota() -> None:
    origins = [LabelOrigin("correction", client="only")] * 50
    assert len(curate_training_rows(feedback(draw_bars(50, 1)), asked(origins), NOTHING).rows) == 50


def test_one_auditor_may_label_everything() -> None:
    origins = [LabelOrigin("audit", reviewer="ada", client="app")] * 300
    assert len(curate_training_rows(feedback(draw_bars(300, 1)), asked(origins), NOTHING).rows) == 300


def test_a_class_has_at_most_three_times_the_median() -> None:
    labels = [0] * 400 + [1] * 40 + [2] * 30
    curated = curate_training_rows(feedback(draw_bars(470, 1), labels), asked([]), NOTHING, LabelQuotas(rows=1))
    assert Counter(curated.rows.labels.tolist()) == {0: 120, 1: 40, 2: 30}
    assert "class 0: 400 of 470 rows, 120 are taken" in curated.excluded[0].detail


@pytest.mark.parametrize("quotas", [{"giver": 0.0}, {"corrections": 1.5}, {"classes": 0.5}, {"rows": 0}])
def test_impossible_quotas_are_refused(quotas: dict[str, float]) -> None:
    with pytest.raises(DataError, match=f"{next(iter(quotas.values()))}"):
        LabelQuotas(**quotas)  # type: ignore[arg-type]


class Scholar:
    """A champion that learnt the first half of the digits, of the known scanner."""

    def __init__(self, digits: Examples) -> None:
        from sklearn.linear_model import LogisticRegression

        known = digits.take(range(900))
        self._model = LogisticRegression(C=10, max_iter=2_000).fit(
            fingerprint(images_of(known.batch)) * 8, known.labels
        )

    def __call__(self, batch: Batch) -> NDArray[np.float32]:
        answers: NDArray[np.float32] = self._model.predict_proba(fingerprint(images_of(batch)) * 8).astype(np.float32)
        return answers


@pytest.fixture(scope="module")
def digits() -> Examples:
    return load_optdigits()


@pytest.fixture(scope="module")
def scholar(digits: Examples) -> Scholar:
    return Scholar(digits)


def poisoned(digits: Examples) -> tuple[FeedbackRows, list[LabelOrigin], set[str]]:
    """Honest labels of many clients, and every fifth row a three that one client calls eight."""
    unseen = digits.take(range(900, 1_797))
    honest, lies = np.arange(240), np.flatnonzero(unseen.labels == 3)[-60:]
    assert lies.min() >= len(honest)
    rows = Examples.concat("all", unseen.take(honest), unseen.take(lies))
    labels = [*unseen.labels[honest].tolist(), *[8] * len(lies)]
    origins = [LabelOrigin("delayed", client=f"client {i % 12}") for i in range(len(honest))]
    origins += [LabelOrigin("delayed", client="liar")] * len(lies)
    return feedback(rows, labels), origins, {f"f{i}" for i in range(len(honest), len(labels))}


@pytest.mark.slow
def test_a_poisoner_does_not_get_through(digits: Examples, scholar: Scholar) -> None:
    rows, origins, lies = poisoned(digits)
    curated = curate_training_rows(rows, asked(origins, scholar), NO_DIGIT)
    suspected = {i for i, reason in reasons(curated.excluded).items() if reason == "suspicious"}
    assert len(lies & set(curated.rows.feedback_ids)) <= 0.15 * len(lies)
    assert len(suspected - lies) <= 0.03 * (len(rows) - len(lies))


@pytest.mark.slow
def test_the_doubt_about_a_lie_is_its_margin_and_reviews_are_not_doubted(digits: Examples, scholar: Scholar) -> None:
    rows, origins, lies = poisoned(digits)
    aside = curate_training_rows(rows, asked(origins, scholar), NO_DIGIT, NO_LIMITS).excluded
    worst = sorted(aside, key=lambda each: -each.doubt)[:20]
    assert len({each.feedback_id for each in worst} & lies) >= 18
    assert all(0 < each.doubt <= 1 for each in aside)
    people = [LabelOrigin("review", "ada") if origin.client == "liar" else origin for origin in origins]
    assert lies <= set(curate_training_rows(rows, asked(people, scholar), NO_DIGIT, NO_LIMITS).rows.feedback_ids)


@pytest.mark.slow
def test_lies_do_not_judge_and_doubt_costs_a_candidate_no_loss(digits: Examples, scholar: Scholar) -> None:
    rows, origins, lies = poisoned(digits)
    trained = curate_training_rows(rows.take(range(0, len(rows), 2)), asked(origins, scholar), NO_DIGIT).rows
    judging = rows.take(range(1, len(rows), 2))
    judged = curate_holdout(judging, asked(origins, scholar), trained)
    suspected = {i for i, reason in reasons(judged.excluded).items() if reason == "suspicious"}
    among = lies & set(judging.feedback_ids)
    assert len(suspected & among) >= 0.8 * len(among)
    right = scholar(judging.batch).argmax(axis=1) == judging.labels
    assert not suspected & {i for i, fine in zip(judging.feedback_ids, right, strict=True) if fine}


@pytest.mark.slow
@pytest.mark.parametrize("source", get_args(LabelSource))
def test_honest_labels_of_a_changed_world_are_learnt(digits: Examples, scholar: Scholar, source: LabelSource) -> None:
    unseen = digits.take(range(900, 1_797))
    rows = feedback(image_examples(simulate_scanner_shift(images_of(unseen.batch), 3), unseen.labels, "second scanner"))
    assert (scholar(rows.batch).argmax(axis=1) == rows.labels).mean() < 0.5
    origins = [LabelOrigin(source, client=f"client {i % 12}") for i in range(len(rows))]
    curated = curate_training_rows(rows, asked(origins, scholar), NO_DIGIT, NO_LIMITS)
    assert len(curated.excluded) < 0.03 * len(rows)


def test_without_champion_or_enough_rows_nothing_is_doubted(digits: Examples, scholar: Scholar) -> None:
    wrong = feedback(digits.take(range(8)), [9] * 8)
    assert curate_training_rows(wrong, asked([]), NO_DIGIT).excluded == ()
    assert curate_training_rows(wrong, asked([], scholar), NO_DIGIT).excluded == ()


def test_the_order_of_arrival_changes_nothing(digits: Examples, scholar: Scholar) -> None:
    rows, origins, _ = poisoned(digits)
    witnesses = asked(origins, scholar)

    def outcome(given: FeedbackRows) -> CurationResult:
        return curate_training_rows(resolve_conflicts(given, witnesses)[0], witnesses, NO_DIGIT)

    first = outcome(rows)
    again = outcome(rows.take(np.random.default_rng(1).permutation(len(rows))))
    assert first.rows.feedback_ids == again.rows.feedback_ids
    assert first.weights.tolist() == again.weights.tolist()
    assert first.excluded == again.excluded


def test_the_lineage_accounts_for_every_label() -> None:
    rows = feedback(draw_bars(3, 1))
    aside = [ExcludedLabel("f9", "over quota", "why")]
    told = label_lineage(rows.take([0, 1]), np.array([1.0, 0.9], dtype=np.float32), rows.take([2]), aside)
    assert json.loads(json.dumps(told)) == {
        "trained": [{"feedback_id": "f0", "weight": 1.0}, {"feedback_id": "f1", "weight": 0.9}],
        "judged": ["f2"],
        "set_aside": [{"feedback_id": "f9", "reason": "over quota", "detail": "why", "doubt": 0.0}],
    }
    assert len(exclusion_counts(aside)) == len(get_args(ExclusionReason))
    assert exclusion_counts(aside)["set_aside_over_quota"] == 1
