"""What the doctor's checks of stored things need: a database that answers and has this version's tables, and rules."""

from collections.abc import Callable, Iterator
from functools import wraps

from mlplatform.context import AppContext
from mlplatform.errors import StoreUnavailableError
from mlplatform.store.database import Database
from monitors.errors import RulesError

Check = Callable[[AppContext], Iterator[tuple[str, str]]]


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


def schema_is_current(context: AppContext) -> bool:
    """Whether `context.database`, which creates and upgrades tables, would change none."""
    current, newest = Database(context.settings.store_url).revision()
    return current == newest
