"""Decides whether a challenger fails too often to be tried any further, from counts of its predictions and failures."""

from typing import Final

from monitors.statistics.intervals import clopper_pearson

MAX_FAILURE_SHARE: Final = 0.01
"""The share of pictures a challenger may fail to answer; the champion fails none, or nothing would be served."""
FAILURE_CONFIDENCE: Final = 0.9999
"""High, because it is asked after every few pictures."""


def too_many_failures(failed: int, succeeded: int) -> str | None:
    """Why the trial should end, in words; None while the challenger surely fails no more than it may.

    Three failures in a row are enough; one among many is not.
    """
    total = failed + succeeded
    if failed < 2 or clopper_pearson(failed, total, FAILURE_CONFIDENCE)[0] <= MAX_FAILURE_SHARE:
        return None
    return f"it failed to answer {failed:,} of {total:,} pictures; {MAX_FAILURE_SHARE:.0%} are allowed"
