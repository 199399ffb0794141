"""Attacks on a live API server in one table; each is a function that hurts as it can until its time is up.

To add one, write a function that takes a Target into the module it fits and name it in that module's ATTACKS.
"""

from collections.abc import Callable
from typing import Final

from benchmarks.attacks import bodies, connections, dependencies, framing
from benchmarks.attacks.target import Target

Attack = Callable[[Target], None]
ATTACKS: Final[dict[str, Attack]] = {
    **connections.ATTACKS,
    **framing.ATTACKS,
    **bodies.ATTACKS,
    **dependencies.ATTACKS,
}
