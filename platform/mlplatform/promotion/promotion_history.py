"""Stores the history of promotions, append-only: the truth about which version serves; MLflow's alias follows it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, insert, select

from mlplatform.errors import ConflictError
from mlplatform.store.tables.promotion import promotions

PromotionKind = Literal["first", "promote", "rollback"]


@dataclass(frozen=True)
class Promotion:
    """One change of champion. `seq` orders them all; `fence` is the token of the lease it was made under."""

    seq: int
    model_name: str
    from_version: int | None
    to_version: int
    kind: PromotionKind
    at: datetime
    actor: str
    reason: str
    retraining_id: str | None
    verdict: dict[str, Any] | None
    fence: int


def promotion_lease_name(model_name: str) -> str:
    """The lease under which a model's champion is changed."""
    return f"promotion:{model_name}"


def latest_promotion(connection: Connection, model_name: str) -> Promotion | None:
    """The newest promotion of a model."""
    query = select(promotions).where(promotions.c.model_name == model_name)
    row = connection.execute(query.order_by(promotions.c.seq.desc()).limit(1)).one_or_none()
    return None if row is None else Promotion(**row._mapping)


def promotion_history(connection: Connection, model_name: str, limit: int = 100) -> list[Promotion]:
    """Promotions of a model, newest first."""
    query = select(promotions).where(promotions.c.model_name == model_name)
    rows = connection.execute(query.order_by(promotions.c.seq.desc()).limit(limit))
    return [Promotion(**row._mapping) for row in rows]


def promoted_models(connection: Connection) -> list[str]:
    """The names of all models that ever had a champion."""
    return list(connection.scalars(select(promotions.c.model_name).distinct().order_by(promotions.c.model_name)))


def append(
    connection: Connection,
    *,
    model_name: str,
    expected: int | None,
    to_version: int,
    kind: PromotionKind,
    now: datetime,
    actor: str,
    reason: str,
    fence: int,
    retraining_id: str | None = None,
    verdict: Mapping[str, Any] | None = None,
    last_seq: int | None = None,
) -> Promotion:
    """Compare-and-set the champion: raises ConflictError when it is no longer `expected`.

    With `last_seq`, also when any promotion followed that one, even if it made the same version champion again.
    """
    current = latest_promotion(connection, model_name)
    current_version = None if current is None else current.to_version
    if last_seq is not None and current is not None and current.seq != last_seq:
        raise ConflictError(f"{model_name}: promotion {current.seq} followed promotion {last_seq}; nothing is undone")
    if current_version != expected:
        raise ConflictError(
            f"{model_name}: the champion is version {current_version}, not {expected} as this promotion to "
            f"version {to_version} assumed; look again (`platform models list`) and repeat"
        )
    values = {
        "model_name": model_name,
        "from_version": expected,
        "to_version": to_version,
        "kind": kind,
        "at": now,
        "actor": actor,
        "reason": reason,
        "retraining_id": retraining_id,
        "verdict": None if verdict is None else dict(verdict),
        "fence": fence,
    }
    connection.execute(insert(promotions).values(values))
    promotion = latest_promotion(connection, model_name)
    assert promotion is not None
    return promotion


def find_by_retraining(connection: Connection, retraining_id: str) -> Promotion | None:
    """The promotion of a retraining's candidate; None where it got not that far."""
    row = connection.execute(select(promotions).where(promotions.c.retraining_id == retraining_id)).one_or_none()
    return None if row is None else Promotion(**row._mapping)


def rollback_target(history: Sequence[Promotion], excluded: Collection[int] = ()) -> int | None:
    """The version a rollback restores, from a history newest first: rollbacks undo, they do not stack.

    Excluded versions are passed over. None where nothing is left.
    """
    served: list[int] = []
    for promotion in reversed(history):
        if promotion.kind == "rollback" and promotion.to_version in served[:-1]:
            served.pop()
            while served[-1] != promotion.to_version:
                served.pop()
        else:
            served.append(promotion.to_version)
    passed_over = {*excluded, *served[-1:]}
    return next((version for version in reversed(served[:-1]) if version not in passed_over), None)


def rolled_back_promotions(history: Iterable[Promotion]) -> frozenset[int]:
    """The numbers of the promotions that a rollback undid, from a history newest first."""
    undone: set[int] = set()
    rolled_back_versions: set[int] = set()
    for promotion in history:
        if promotion.kind == "rollback":
            if promotion.from_version is not None:
                rolled_back_versions.add(promotion.from_version)
        elif promotion.to_version in rolled_back_versions:
            rolled_back_versions.remove(promotion.to_version)
            undone.add(promotion.seq)
    return frozenset(undone)
