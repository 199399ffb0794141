"""Checks the fields of a contract: each fault names field, value and what to give instead."""

import math
from typing import Any, Final

from registry.errors import ContractError

MAX_NAME_LENGTH: Final = 200


def kind_of(document: object, where: str, known: tuple[str, ...]) -> str:
    """The kind that a part of a contract names; raises ContractError where it is none of the known ones."""
    kind = document.get("kind") if isinstance(document, dict) else None
    if not isinstance(kind, str) or kind not in known:
        raise ContractError(f"{where}.kind: {shown(kind)} is not known here; known: {', '.join(known)}")
    return kind


def fields_of(document: object, where: str, names: tuple[str, ...], *passed: str) -> dict[str, Any]:
    """The values of exactly these fields; those in `passed` are read elsewhere."""
    if not isinstance(document, dict):
        raise ContractError(f"{where}: {shown(document)} is no object; give one with {', '.join(names)}")
    if missing := [name for name in names if name not in document]:
        raise ContractError(f"{where}: no {', '.join(missing)}; a contract names every field")
    if unknown := [name for name in document if name not in (*names, *passed)]:
        raise ContractError(f"{where}: unknown field {shown(unknown[0])}; known: {', '.join((*passed, *names))}")
    return {name: document[name] for name in names}


def list_of(value: object, where: str) -> list[Any]:
    """A list; raises ContractError for anything else."""
    if not isinstance(value, list):
        raise ContractError(f"{where}: {shown(value)} is no list; give one")
    return value


def names_of(values: object, where: str, fewest: int, most: int) -> tuple[str, ...]:
    """Names, each once, so many; raises ContractError."""
    if isinstance(values, str) or not isinstance(values, list | tuple):
        raise ContractError(f"{where}: {shown(values)} is no list of names; give one")
    if not fewest <= len(values) <= most:
        raise ContractError(f"{where}: {len(values)} of them; give {fewest} to {most}")
    for value in values:
        check_name(value, where)
    check_unique(values, where)
    return tuple(values)


def check_name(value: object, where: str) -> None:
    """Raise ContractError unless it is a name that UTF-8 can hold."""
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_NAME_LENGTH:
        raise ContractError(f"{where}: {shown(value)} is no name; give 1 to {MAX_NAME_LENGTH} characters")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ContractError(f"{where}: {shown(value)} is half a character (UTF-8 cannot hold it)") from None


def check_unique(names: "list[str] | tuple[str, ...]", where: str) -> None:
    """Raise ContractError where a name is there twice."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ContractError(f"{where}: {shown(twice)} is there twice; keep one")


def check_one_of(value: object, known: tuple[str, ...], where: str) -> None:
    """Raise ContractError unless it is one of the known texts."""
    if not isinstance(value, str) or value not in known:
        raise ContractError(f"{where}: {shown(value)} is not known; known: {', '.join(known)}")


def check_flag(value: object, where: str) -> None:
    """Raise ContractError unless it is true or false."""
    if not isinstance(value, bool):
        raise ContractError(f"{where}: {shown(value)}; give true or false")


def check_whole(value: object, where: str, most: int) -> None:
    """Raise ContractError unless it is a whole number from 1 on."""
    if type(value) is not int or not 1 <= value <= most:
        raise ContractError(f"{where}: {shown(value)}; give a whole number from 1 to {most}")


def finite_number(value: object, where: str) -> float:
    """A finite number; raises ContractError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ContractError(f"{where}: {shown(value)} is no number; give one")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ContractError(f"{where}: {shown(value)} is not finite; give a number that is")
    return number + 0.0  # -0.0 is written as 0.0


def shown(value: object) -> str:
    """A value in a message, cut short."""
    return repr(value)[:80]
