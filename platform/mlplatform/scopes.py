"""What a person or a key may be allowed: scopes by name, each for every model or limited to one (`predict:digits`)."""

import re
from collections.abc import Collection
from typing import Final, Literal, get_args

from mlplatform.errors import InvalidInputError

Scope = Literal["predict", "feedback", "audit", "review", "retrain", "operate", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
MODEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
SEPARATOR: Final = ":"


def validate_scopes(scopes: Collection[str]) -> tuple[str, ...]:
    """The scopes in their order, each once.

    Raises InvalidInputError for one that is not known, for a model that cannot be, and for none.
    """
    if not scopes:
        raise InvalidInputError(f"without a scope nothing opens; give one or more of {', '.join(SCOPES)}")
    for text in sorted(scopes):
        name, separator, model = text.partition(SEPARATOR)
        if name not in SCOPES:
            raise InvalidInputError(
                f"scope {name[:40]!r} is not known; give one or more of {', '.join(SCOPES)}, each for every model or "
                f"for one, such as predict:digits"
            )
        if separator and not MODEL_NAME.fullmatch(model):
            raise InvalidInputError(
                f"scope {text[:80]!r} names no model behind its colon; write the model's name, such as {name}:digits"
            )
    return tuple(sorted(set(scopes), key=lambda text: (SCOPES.index(_scope_of(text)), text)))


def parse_group_scopes(text: str) -> dict[str, tuple[str, ...]]:
    """The scopes of each group, from `ml-team=review,retrain;oncall=operate:digits`.

    A group's name may hold "=" and ",", as those of directories do. Raises InvalidInputError.
    """
    scopes_by_group: dict[str, tuple[str, ...]] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        group, separator, scopes = part.rpartition("=")
        if not separator or not group.strip():
            raise InvalidInputError(f"{part[:80]!r} is no group with its scopes; write group=scope,scope;group=scope")
        if group.strip() in scopes_by_group:
            raise InvalidInputError(f"group {group.strip()[:80]!r} stands twice; give all of its scopes at once")
        scopes_by_group[group.strip()] = validate_scopes([scope.strip() for scope in scopes.split(",")])
    return scopes_by_group


def granted_models(scopes: Collection[str], accepted: Collection[str]) -> frozenset[str] | None:
    """The models for which one of the accepted scopes, or `admin`, is granted; None for every model."""
    models = set()
    for text in scopes:
        name, separator, model = text.partition(SEPARATOR)
        if name != "admin" and name not in accepted:
            continue
        if not separator:
            return None
        if model:
            models.add(model)
    return frozenset(models)


def _scope_of(text: str) -> Scope:
    name = text.partition(SEPARATOR)[0]
    return next(scope for scope in SCOPES if scope == name)
