"""What went wrong in words for anybody: no address, path, digest or name of a host; the log has the rest."""

import re
from typing import Final

from mlplatform.errors import StoreUnavailableError
from pipelines.errors import PipelineError
from registry.errors import (
    CorruptModelError,
    NoChampionError,
    RegistryError,
    RegistryUnavailableError,
    UnknownVersionError,
)

MORE: Final = "the server's log says more"
REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (StoreUnavailableError, "the database did not answer"),
    (RegistryUnavailableError, "the model registry did not answer"),
    (CorruptModelError, "the version's files are not those that were registered"),
    (UnknownVersionError, "the version is not in the model registry"),
    (NoChampionError, "no version is champion"),
    (RegistryError, "the model registry refused"),
    (PipelineError, "the version cannot be loaded"),
    (OSError, "a file could not be read or written"),
)
_MAY_NAME_A_HOST: Final = re.compile(r"[\\/:=@\d.'\"]")
"""Drivers and libraries name hosts in many ways; a text with any of these is not shown."""
_PLACES: Final = re.compile(r"[A-Za-z][\w+.-]*://\S+|(?<![\w.)])(?:/[\w.@~+-]+){2,}/?|\b[0-9a-f]{16,}\b")


def reason_of(error: Exception) -> str:
    """What kind of trouble this is."""
    for kind, reason in REASONS:
        if isinstance(error, kind):
            return f"{reason}; {MORE}"
    return f"it failed in a way nobody foresaw; {MORE}"


def public(error: Exception) -> str:
    """The text of an error that a client is answered with: its own where nothing in it is a place."""
    text = str(error)
    if isinstance(error, StoreUnavailableError | RegistryUnavailableError) and _MAY_NAME_A_HOST.search(text):
        return f"{reason_of(error)}; try again"
    return _PLACES.sub("…", text)
