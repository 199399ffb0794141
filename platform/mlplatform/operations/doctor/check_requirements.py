"""What the doctor's checks of stored things need: a database that answers and has this version's tables, and rules."""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Final

from mlplatform.context import AppContext
from mlplatform.errors import PlatformError, StoreUnavailableError
from mlplatform.store.database import Database
from monitors.errors import MonitorError, RulesError
from pipelines.errors import PipelineError
from registry.errors import RegistryError

Check = Callable[[AppContext], Iterator[tuple[str, str]]]
KNOWN_ERRORS: Final = (PlatformError, MonitorError, PipelineError, RegistryError, OSError)
"""What a check may raise where something is away or wrong."""


def needs_current_store(check: Check) -> Check:
    """The check, which says that it was not made where database or rules cannot be read; no table is changed."""

    @wraps(check)
    def checked(context: AppContext) -> Iterator[tuple[str, str]]:
        try:
            if schema_is_current(context):
                yield from check(context)
            else:
                yield "note", "not looked at: the database's tables are not those of this version"
        except StoreUnavailableError:
            yield "note", "not looked at: the database is away"
        except RulesError:
            yield "note", "not looked at: the rules cannot be read"

    return checked


def findings_of(check: Check, context: AppContext) -> list[tuple[str, str]]:
    """What a check finds; where it cannot be made, a note that says so."""
    try:
        return list(check(context))
    except KNOWN_ERRORS as error:
        return [("note", f"not looked at: {error}")]


def schema_is_current(context: AppContext) -> bool:
    """Whether `context.database`, which creates and upgrades tables, would change none."""
    current, newest = Database(context.settings.store_url).revision()
    return current == newest
