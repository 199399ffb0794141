"""Permutation p-values, drawn only as long as further draws could change the answer."""

from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING, Final

from monitors.errors import WindowError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ENOUGH_EXCEEDANCES: Final = 20
"""So many draws at least as large as the observation settle that it is nothing special."""
MIN_LEVEL: Final = 1e-6
_CHUNK_SIZE: Final = 2_000
_TOLERANCE: Final = 1e-12


def permutation_p_value(observed: float, draw: Callable[[int], "Floats"], smallest: float) -> float:
    """The p-value of an observation among draws of its statistic under the null hypothesis (Besag and Clifford 1991).

    Valid at every level. A healthy observation costs a few hundred draws; one that is to be proved at the level
    `smallest` costs two over it. Raises WindowError for a level that no affordable number of draws can prove.
    """
    import numpy as np

    if not MIN_LEVEL <= smallest <= 1:
        raise WindowError(f"a level of {smallest:.2g} is out of reach for permutations; choose from {MIN_LEVEL} to 1")
    most, drawn, larger = ceil(2 / smallest), 0, 0
    while drawn < most:
        size = min(_CHUNK_SIZE if drawn else 10 * ENOUGH_EXCEEDANCES, most - drawn)
        reached = np.cumsum(draw(size) >= observed - _TOLERANCE) + larger
        places = np.flatnonzero(reached >= ENOUGH_EXCEEDANCES)
        if len(places):
            return float(ENOUGH_EXCEEDANCES / (drawn + int(places[0]) + 1))
        larger, drawn = int(reached[-1]), drawn + size
    return (larger + 1) / (most + 1)
