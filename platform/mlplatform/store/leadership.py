"""Which watcher leads: the name of its lease and how long a process counts as alive without a heartbeat."""

from datetime import timedelta

ALIVE_PERIOD = timedelta(seconds=30)


WATCHER = "watcher"


def leader_lease_name(model: str) -> str:
    """The lease that the leading watcher of a model holds."""
    return f"{WATCHER}:{model}"
