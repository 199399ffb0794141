"""The registered versions of a model, their tags, and the aliases that point at them.

Moving an alias is last-writer-wins in MLflow: whoever promotes must hold a lease of its own first.
"""

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from registry.errors import ContractError, CorruptModelError, NoChampionError, RegistryError, UnknownVersionError
from registry.mlflow_connection import retry_while_unavailable
from registry.model_contract import ModelContract
from registry.model_package import (
    CONTRACT_SHA256_TAG,
    DIGEST_TAGS,
    METADATA_FILE,
    MODEL_FILE,
    ONNX_FILE,
    ONNX_SHA256_TAG,
    SHA256_TAG,
    model_digest,
    read_contract,
)
from registry.runs import TrackingStore

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
CHALLENGER = "challenger"
QUARANTINE_TAG = "mlplatform.quarantined"
"""Borne by versions that failed and may not be trusted again; its value says why."""
PREVIOUS_CHALLENGER_TAG = "mlplatform.challenger_before"
"""Borne by a version: whose place it took as challenger."""
REGISTRATION_TAG = "mlplatform.registration"
"""Marks the call that registered a version, so that the same call made again finds it."""
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
GOLDEN_DIGEST_TAG = "golden_digest"
TRAINED_UNTIL_TAG = "trained_until"
"""Seconds since 1970 of the newest row that a version was trained or tuned on, where all its rows have a time."""
GOLDEN_LOSSES_TAG = "golden_losses"
"""How many golden rows have each loss, as JSON; of versions whose mistakes do not all cost the same."""
"""Borne by a version: which golden rows it was judged on."""
READY_SECONDS = 30
DESCRIPTION_LIMIT = 5000
CUT_NOTICE = "\n\n*Cut here: the whole card is an artifact of the run.*\n"


@dataclass(frozen=True)
class RegisteredVersion:
    """One registered version as it stood when it was read."""

    name: str
    version: int
    run_id: str
    created_at: datetime
    tags: Mapping[str, str]
    description: str
    aliases: tuple[str, ...]
    source: str


class Catalog:
    """The model registry of one store."""

    def __init__(self, tracking: TrackingStore) -> None:
        self._connection = tracking.connection
        self._pending_removals: list[Path] = []
        """Folders of downloads that could not be removed, as without descriptors; the next download does."""

    def register(
        self,
        name: str,
        model_uri: str,
        run_id: str,
        tags: Mapping[str, str] | None = None,
        description: str = "",
    ) -> int:
        """Make a model logged by `Run.log_model` the next version of `name`, and wait until it is ready."""
        if not MODEL_NAME.fullmatch(name):
            raise RegistryError(f"{name!r} is no model name: use letters, digits, - and _, a letter or digit first")
        return self._register(name, model_uri, run_id, {**(tags or {}), REGISTRATION_TAG: uuid4().hex}, description)

    @retry_while_unavailable
    def _register(self, name: str, model_uri: str, run_id: str, tags: Mapping[str, str], description: str) -> int:
        """One registration, once: where its answer was lost, the version that bears its mark is the one it made."""
        with self._connection.session() as client:
            logged = client.get_logged_model(model_uri.removeprefix("models:/"))
            digest_tags = {tag: logged.tags[tag] for tag in DIGEST_TAGS.values() if tag in logged.tags}
            if not digest_tags.keys() & {SHA256_TAG, ONNX_SHA256_TAG}:
                raise RegistryError(f"{model_uri} has no {SHA256_TAG} tag: log the model with Run.log_model")
            self._ensure_model(client, name)
            for version in client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'"):
                if version.tags.get(REGISTRATION_TAG) == tags[REGISTRATION_TAG]:
                    return int(version.version)
            new_version = client.create_model_version(
                name,
                source=logged.artifact_location,
                run_id=run_id,
                tags={**tags, **digest_tags},
                description=_truncate_description(description),
                await_creation_for=READY_SECONDS,
                model_id=logged.model_id,
            )
        return int(new_version.version)

    @retry_while_unavailable
    def version(self, name: str, version: int) -> RegisteredVersion:
        """One version; UnknownVersionError names those that exist."""
        with self._connection.session(lambda: self._unknown_version(name, version)) as client:
            return _version_record(client.get_model_version(name, str(version)))

    @retry_while_unavailable
    def versions(self, name: str) -> tuple[RegisteredVersion, ...]:
        """All versions, newest first; empty when the model was never registered."""
        if not MODEL_NAME.fullmatch(name):
            return ()
        records: list[RegisteredVersion] = []
        token: str | None = None
        with self._connection.session() as client:
            while token != "":
                page = client.search_model_versions(f"name = '{name}'", page_token=token)
                records += [_version_record(item) for item in page]
                token = page.token or ""
        aliases = self._aliases(name) if records else {}
        named = [replace(item, aliases=_aliases_of(item.version, aliases)) for item in records]
        return tuple(sorted(named, key=lambda item: item.version, reverse=True))

    @retry_while_unavailable
    def alias(self, name: str, alias: str) -> int | None:
        """The version an alias points at, None when nothing carries it."""
        return self._aliases(name).get(alias)

    def champion(self, name: str) -> RegisteredVersion:
        """The trusted version; NoChampionError before the first promotion."""
        version = self.alias(name, CHAMPION)
        if version is None:
            raise NoChampionError(f"No version of {name!r} is champion: train and promote a first one")
        return self.version(name, version)

    @retry_while_unavailable
    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version, taking it from any other."""
        with self._connection.session(lambda: self._unknown_version(name, version)) as client:
            client.set_registered_model_alias(name, alias, str(version))

    @retry_while_unavailable
    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; removing an absent one changes nothing."""
        if alias in self._aliases(name):
            with self._connection.session() as client:
                client.delete_registered_model_alias(name, alias)

    @retry_while_unavailable
    def set_tag(self, name: str, version: int, key: str, value: str) -> None:
        """Add or replace one tag of a version."""
        with self._connection.session(lambda: self._unknown_version(name, version)) as client:
            client.set_model_version_tag(name, str(version), key, value)

    @retry_while_unavailable
    def delete_tag(self, name: str, version: int, key: str) -> None:
        """Remove one tag of a version; removing an absent one changes nothing."""
        if key in self.version(name, version).tags:
            with self._connection.session(lambda: self._unknown_version(name, version)) as client:
                client.delete_model_version_tag(name, str(version), key)

    def delete_version(self, name: str, version: int) -> None:
        """Take a version out of the registry; its run keeps what was logged."""
        with self._connection.session(lambda: self._unknown_version(name, version)) as client:
            client.delete_model_version(name, str(version))

    @retry_while_unavailable
    def download(self, name: str, version: int, target: Path) -> Path:
        """The folder `target/<name>/<version>` with the version's files, fetched once and checked each time.

        It appears whole or not at all, also when two processes fetch it at once; its model files have the
        sha256 noted at registration, otherwise CorruptModelError. An ONNX graph nobody noted is left out.
        """
        record = self.version(name, version)
        folder = target / name / str(version)
        if _is_intact(folder, record):
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._pending_removals = [stale for stale in self._pending_removals if not _remove_folder(stale)]
        temporary = Path(tempfile.mkdtemp(prefix=f".{version}-", dir=folder.parent))
        try:
            _replace_folder(self._fetch(record, temporary), folder, temporary / "old", record)
        finally:
            if not _remove_folder(temporary):
                self._pending_removals.append(temporary)
        return folder

    def _fetch(self, record: RegisteredVersion, parent: Path) -> Path:
        from mlflow.artifacts import download_artifacts

        uri = self._connection.uri
        with self._connection.session() as client:
            location = client.get_model_version_download_uri(record.name, str(record.version))
            folder = Path(download_artifacts(location, dst_path=str(parent), tracking_uri=uri, registry_uri=uri))
        one_graph = SHA256_TAG not in record.tags and ONNX_SHA256_TAG in record.tags
        model_file = ONNX_FILE if one_graph else MODEL_FILE
        if not (folder / model_file).is_file():
            raise CorruptModelError(f"{_version_title(record)} has no {model_file}: register it again from a new run")
        for name, tag in DIGEST_TAGS.items():
            expected = record.tags.get(tag)
            if expected is None and name == (MODEL_FILE if one_graph else ONNX_FILE):
                (folder / name).unlink(missing_ok=True)
                continue
            _check_digest(folder, name, record, expected)
        return folder

    @retry_while_unavailable
    def contract(self, name: str, version: int) -> ModelContract:
        """What a version takes and answers, without its model; raises CorruptModelError, ContractError."""
        from mlflow.artifacts import download_artifacts

        record, uri = self.version(name, version), self._connection.uri
        with tempfile.TemporaryDirectory() as parent, self._connection.session() as client:
            location = client.get_model_version_download_uri(record.name, str(record.version))
            source = f"{location.rstrip('/')}/{METADATA_FILE}"
            file = Path(download_artifacts(source, dst_path=parent, tracking_uri=uri, registry_uri=uri))
            _check_digest(file.parent, METADATA_FILE, record, record.tags.get(CONTRACT_SHA256_TAG))
            return read_contract(file.parent)

    def _aliases(self, name: str) -> dict[str, int]:
        absent = UnknownVersionError(name)
        try:
            with self._connection.session(lambda: absent) as client:
                aliases: dict[str, str] = client.get_registered_model(name).aliases
        except UnknownVersionError:
            return {}
        return {alias: int(version) for alias, version in aliases.items()}

    def _ensure_model(self, client: "MlflowClient", name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _unknown_version(self, name: str, version: int) -> UnknownVersionError:
        registered = ", ".join(str(item.version) for item in self.versions(name)) or "none"
        return UnknownVersionError(f"Model {name!r} has no version {version}; registered: {registered}")


def _version_record(version: "ModelVersion") -> RegisteredVersion:
    return RegisteredVersion(
        name=version.name,
        version=int(version.version),
        run_id=version.run_id or "",
        created_at=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
        tags=dict(version.tags),
        description=version.description or "",
        aliases=tuple(sorted(version.aliases)),
        source=version.source,
    )


def _aliases_of(version: int, aliases: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(sorted(alias for alias, target in aliases.items() if target == version))


def _truncate_description(text: str) -> str:
    if len(text) <= DESCRIPTION_LIMIT:
        return text
    return text[: DESCRIPTION_LIMIT - len(CUT_NOTICE)] + CUT_NOTICE


def _version_title(record: RegisteredVersion) -> str:
    return f"Version {record.version} of {record.name!r}"


def _check_digest(folder: Path, name: str, record: RegisteredVersion, expected: str | None) -> None:
    digest = model_digest(folder, name)
    if digest != expected:
        raise CorruptModelError(
            f"{_version_title(record)} should have sha256 {expected}, its file {name} has {digest or 'nothing'}: "
            "do not serve it, roll back to another version"
        )


def _is_intact(folder: Path, record: RegisteredVersion) -> bool:
    """Whether every model file is there as noted, and no other."""
    try:
        return all(model_digest(folder, name) == record.tags.get(tag) for name, tag in DIGEST_TAGS.items())
    except ContractError:
        return False


def _remove_folder(folder: Path) -> bool:
    """Whether the folder is gone with everything in it."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def _replace_folder(fetched: Path, folder: Path, attic: Path, record: RegisteredVersion) -> None:
    """Put `fetched` in the place of `folder`; when another process was faster, its equal copy stays."""
    if folder.exists() and not _is_intact(folder, record):
        shutil.move(folder, attic)
    try:
        fetched.rename(folder)
    except OSError:
        if not _is_intact(folder, record):
            raise
