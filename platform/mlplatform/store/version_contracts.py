"""What each version of a model takes and answers: pinned in the database, read from the registry where it is not."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, select

from mlplatform.errors import ModelUnavailableError
from mlplatform.store.database import insert_new
from mlplatform.store.label_rules import LabelRules, label_rules
from mlplatform.store.tables.alerting import baselines
from registry.catalog import Catalog
from registry.errors import CorruptModelError, UnknownVersionError
from registry.model_contract import ModelContract
from registry.prediction_task import Task

CONTRACT_KIND: Final = "contract"
"""The kind of baseline that pins a version's contract."""


class VersionContracts:
    """The contracts of registered versions. One never changes, so each is read once; threads may share this."""

    def __init__(self, catalog: Callable[[], Catalog]) -> None:
        self._catalog = catalog
        self._known: dict[tuple[str, int], ModelContract] = {}

    def of(self, connection: Connection, model: str, version: int) -> ModelContract:
        """A version's contract; raises RegistryError where neither database nor registry can say.

        A version that is gone from the registry and was not pinned is older than contracts: it took what the oldest
        version that is known takes.
        """
        key = model, version
        if key not in self._known:
            pinned = pinned_contract(connection, model, version)
            try:
                self._known[key] = pinned or self._catalog().contract(model, version)
            except UnknownVersionError:
                versions = pinned_versions(connection, model)
                if not versions:
                    raise
                return self.of(connection, model, versions[0])
        return self._known[key]

    def classes_of(self, connection: Connection, model: str, version: int) -> tuple[str, ...]:
        """What an answer of the version or its truth may be counted as: classes, or lengths of texts.

        Those of the version come first, then those of other versions.
        """
        own = self.of(connection, model, version).counted_names
        return tuple(dict.fromkeys((*own, *label_rules(self._tasks(connection, model)).counted_names)))

    def label_rules(self, connection: Connection, model: str) -> LabelRules:
        """What a label may say: an answer of any version that served or was tried.

        Raises ModelUnavailableError where there is no version.
        """
        if tasks := self._tasks(connection, model):
            return label_rules(tasks)
        newest = next(iter(self._catalog().versions(model)), None)
        if newest is None:
            raise ModelUnavailableError(
                f"no version of {model} says which classes there are; `platform train` makes one"
            )
        return label_rules([self.of(connection, model, newest.version).task])

    def pin(self, connection: Connection, contract: ModelContract, model: str, version: int, now: datetime) -> None:
        """Pin a version's contract where none is; raises CorruptModelError where another one is."""
        pinned = pinned_contract(connection, model, version)
        if pinned is None:
            row = {"model_name": model, "model_version": version, "kind": CONTRACT_KIND, "host_class": ""}
            insert_new(connection, baselines, [{**row, "numbers": contract.to_dict(), "at": now}])
        elif pinned != contract:
            raise CorruptModelError(
                f"version {version} was promoted with contract {pinned.to_json()[:200]}, and says now "
                f"{contract.to_json()[:200]}: it is not answered with; roll back to another version"
            )

    def _tasks(self, connection: Connection, model: str) -> list[Task]:
        """The tasks of all versions whose contracts are pinned, the oldest version's first."""
        return [self.of(connection, model, version).task for version in pinned_versions(connection, model)]


def pinned_contract(connection: Connection, model: str, version: int) -> ModelContract | None:
    """The contract that is pinned of a version; None for one that neither served nor was tried."""
    document = connection.scalar(
        select(baselines.c.numbers).where(
            baselines.c.model_name == model,
            baselines.c.model_version == version,
            baselines.c.kind == CONTRACT_KIND,
        )
    )
    return None if document is None else ModelContract.from_dict(document)


def pinned_versions(connection: Connection, model: str) -> list[int]:
    """The versions whose contracts are pinned, oldest first: those that served or were tried."""
    query = select(baselines.c.model_version).where(baselines.c.model_name == model, baselines.c.kind == CONTRACT_KIND)
    return list(connection.scalars(query.order_by(baselines.c.model_version)))
