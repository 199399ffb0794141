"""Error texts for anybody: without addresses, paths, digests or host names; the log has the rest."""

import re
from typing import Final

from mlplatform.auth.sign_in_errors import ProviderUnavailableError
from mlplatform.errors import StoreUnavailableError
from pipelines.errors import PipelineError
from registry.errors import (
    CorruptModelError,
    NoChampionError,
    RegistryError,
    RegistryUnavailableError,
    UnknownVersionError,
)

SEE_LOG: Final = "the server's log says more"
REASON_BY_ERROR: Final[tuple[tuple[type[Exception], str], ...]] = (
    (StoreUnavailableError, "the database did not answer"),
    (ProviderUnavailableError, "the OpenID provider did not answer as it should; API keys still work"),
    (RegistryUnavailableError, "the model registry did not answer"),
    (CorruptModelError, "the version's files are not those that were registered"),
    (UnknownVersionError, "the version is not in the model registry"),
    (NoChampionError, "no version is champion"),
    (RegistryError, "the model registry refused"),
    (PipelineError, "the version cannot be loaded"),
    (OSError, "a file could not be read or written"),
)
UNREACHABLE: Final = (StoreUnavailableError, RegistryUnavailableError, ProviderUnavailableError)
_HOST_CHARACTERS: Final = re.compile(r"[\\/:=@\d.'\"]")
"""Drivers and libraries name hosts in many ways; a text with any of these is not shown."""
_ADDRESSES_AND_PATHS: Final = re.compile(r"[A-Za-z][\w+.-]*://\S+|(?<![\w.)])(?:/[\w.@~+-]+){2,}/?|\b[0-9a-f]{16,}\b")


def public_reason(error: Exception) -> str:
    """What kind of trouble this is."""
    for kind, reason in REASON_BY_ERROR:
        if isinstance(error, kind):
            return f"{reason}; {SEE_LOG}"
    return f"it failed in a way nobody foresaw; {SEE_LOG}"


def public_message(error: Exception) -> str:
    """The text of an error that a client is answered with: its own where nothing in it is a place."""
    text = str(error)
    if isinstance(error, UNREACHABLE) and _HOST_CHARACTERS.search(text):
        return f"{public_reason(error)}; try again"
    return _ADDRESSES_AND_PATHS.sub("…", text)
