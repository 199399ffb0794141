"""Rollouts as they stand in the database when they are over."""

from datetime import datetime

from mlplatform.ids import uuid7
from mlplatform.promotion import rollouts
from mlplatform.store.database import Database
from monitors.decisions.version_comparison import VersionComparison


def over(
    database: Database, version: int, beside: int, start: datetime, end: datetime, *, model_name: str = "digits"
) -> None:
    """Write a shadow of one version beside another that ran in [start, end)."""
    rollout = rollouts.Rollout(
        id=uuid7(),
        model_name=model_name,
        version=version,
        beside=beside,
        role="shadow",
        share=0.0,
        state="stopped",
        at=start,
        actor="ada",
        reason="a try",
        cursor=0,
        duel=VersionComparison().to_json(),
        ended_at=end,
        ended_by="ada",
        ended_reason="enough",
    )
    with database.write() as connection:
        rollouts.start(connection, rollout)
