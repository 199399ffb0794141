"""Which labels wait until the answers of held-back ones are mature: what a champion learns could not be asked of it."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from pipelines.data import FORGOTTEN_GROUPS, FeedbackRows


def waiting_labels(rows: FeedbackRows, mature: Collection[str]) -> NDArray[np.bool_]:
    """Which labels train no more than they judge yet, (n,); `mature` are the rows that may judge now.

    Those about a row that is held back and not mature. Of events also those about a group that has such a row, unless
    they judge themselves: nothing judges that belongs to a group of which the champion has learnt a label.
    """
    held = frozenset(rows.holdout_rows().ids)
    waits = np.array([row in held and row not in mature for row in rows.ids], dtype=bool)
    if not rows.keys or not rows.groups:
        return waits
    owners = {group for group, wait in zip(rows.groups, waits, strict=True) if wait} - {"", *FORGOTTEN_GROUPS.values()}
    beside = [group in owners and row not in held for group, row in zip(rows.groups, rows.ids, strict=True)]
    both: NDArray[np.bool_] = waits | np.array(beside, dtype=bool)
    return both
