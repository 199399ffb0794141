"""Which rows of events may judge whom: none that either model has learnt, by its content, its owner or its time.

A row of the file and a label of production may be one event under two keys. What judges must also be of days that the
models have not learnt: of a stormy day's rows, those that train tell how the others went.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.candidate.learnt_rows import separate_learnt
from pipelines.data import Examples, FeedbackRows, Split
from pipelines.labels.learnt_labels import asked_again

if TYPE_CHECKING:
    from pipelines.candidate.training_spec import Champion, TrainingSpec

DAY_SECONDS: Final = 86_400


def unlearnt_golden_rows(golden: Examples, champion: Champion | None, block_seconds: int | None) -> Examples | None:
    """The golden rows that the champion has not learnt; None where nobody knows.

    All of those it was judged on itself, as no row trains that is among a version's own golden rows; of others those of
    days later than all it was trained or tuned on.
    """
    if champion is None or champion.golden_digest == golden.digest:
        return golden
    if champion.trained_until is None or golden.times is None:
        return None
    length = block_seconds or 1
    days, last = np.floor(golden.times / length), np.floor(champion.trained_until / length)
    return golden.take((golden.times > champion.trained_until) & ((days > last) | (block_seconds is None)))


def judging_golden_rows(
    spec: TrainingSpec, golden: Examples, trained: FeedbackRows | None, holdout: FeedbackRows | None = None
) -> Examples | None:
    """The golden rows on which candidate and champion are compared, where these labels train and those judge as well.

    `golden` are the file's golden rows of which none trains. None where too few are left: then nothing can be said. Of
    the champion's own golden rows, all that neither train nor judge elsewhere stay in that case, whatever their days.
    """
    whole, fewest, block = spec.split.golden, spec.policy.min_rows, spec.pipeline.contract.block_seconds
    unlearnt = unlearnt_golden_rows(whole, spec.champion, block)
    if unlearnt is None or spec.pipeline.contract.truth != "event":
        return unlearnt if unlearnt is whole else None
    if len(golden) < len(whole):
        unlearnt = golden if unlearnt is whole else unlearnt.take(np.isin(unlearnt.ids, golden.ids))
    twice = np.zeros(len(unlearnt), dtype=bool)
    if holdout is not None:
        twice = same_events(unlearnt, holdout.take(may_be_in_file(holdout, spec.split, block)))
    is_own = spec.champion is None or spec.champion.golden_digest == whole.digest
    if spec.feedback is not None and not is_own:
        twice |= asked_again(unlearnt, separate_learnt(spec.feedback, spec)[1])
    days, mine = days_of(trained, block), days_of(unlearnt, block)
    same_day = np.zeros(len(unlearnt), dtype=bool) if days is None or mine is None else np.isin(mine, days)
    apart = _without(unlearnt, twice | same_day)
    if len(apart) < fewest and is_own:
        apart = _without(unlearnt, twice)
        return apart if len(apart) >= min(fewest, len(whole)) else None
    return apart if len(apart) >= fewest else None


def days_of(rows: Examples | None, block_seconds: int | None) -> NDArray[np.int64] | None:
    """The stretch of time that each row lies in, (n,), where the contract says that such rows go wrong together."""
    if rows is None or rows.times is None or block_seconds is None:
        return None
    return np.floor(rows.times / block_seconds).astype(np.int64)


def on_days(rows: FeedbackRows, judging: Examples | None, block_seconds: int | None) -> NDArray[np.bool_]:
    """Which labels are of days on which golden rows judge, (n,)."""
    mine, theirs = days_of(rows, block_seconds), days_of(judging, block_seconds)
    if mine is None or theirs is None:
        return np.zeros(len(rows), dtype=bool)
    return np.isin(mine, theirs)


def may_be_in_file(rows: FeedbackRows, split: Split, block_seconds: int | None) -> NDArray[np.bool_]:
    """Which labels may be of an event that the file holds, (n,), by their content and their time.

    A content that occurs once in the file names its event, whenever it was answered. One that several rows share may be
    any of them, unless it was answered later than a day after the newest row of the file.
    """
    counts, newest = Counter[str](), list[float]()
    for part in (split.train, split.validation, split.golden):
        counts.update(part.content_hashes)
        if part.times is not None and len(part):
            newest.append(float(part.times.max()))
    sharing = np.array([counts[content] for content in rows.content_hashes], dtype=np.int64)
    in_file: NDArray[np.bool_] = sharing > 0
    if rows.times is None or not newest:
        return in_file
    too_late: NDArray[np.bool_] = rows.times > max(newest) + (block_seconds or DAY_SECONDS)
    in_file[too_late & (sharing > 1)] = False
    return in_file


def same_events(rows: Examples, others: Examples) -> NDArray[np.bool_]:
    """Which rows stand for the events of the others, (n,): of each content as many as the others have, if there are.

    Rows of one content and one truth are the same for a model, so it does not matter which of them are taken. Those of
    an equal truth come first: an event keeps its truth under another key.
    """
    alike = Counter(zip(others.content_hashes, others.labels.tolist(), strict=True))
    of_content = Counter(others.content_hashes)
    same = np.zeros(len(rows), dtype=bool)
    for is_exact in (True, False):
        for row, (content, label) in enumerate(zip(rows.content_hashes, rows.labels.tolist(), strict=True)):
            left = alike[content, label] if is_exact else of_content[content]
            if left > 0 and not same[row]:
                same[row] = True
                alike[content, label] -= is_exact
                of_content[content] -= 1
    return same


def _without(rows: Examples, mask: NDArray[np.bool_]) -> Examples:
    return rows.take(~mask) if mask.any() else rows
