"""The connection to one MLflow store; its failures become this room's errors, and calls are made again where asked.

Without retries (`retry_for`), a store that is away for a moment would cost a training hours of work.
"""

import fcntl
import functools
import logging
import os
import re
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from registry.errors import RegistryError, RegistryUnavailableError
from registry.mlflow_tables import create_tables

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
INITIAL_DELAY_SECONDS: Final = 0.5
MAX_DELAY_SECONDS: Final = 10.0
CONNECT_SECONDS = 3.0
LOCK_SECONDS = 60.0
SQLITE_MAGIC = b"SQLite format 3\x00"
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
NOT_FOUND_CODE = "RESOURCE_DOES_NOT_EXIST"
REFUSED_CODES = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "PERMISSION_DENIED",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_CONFLICT",
    "UNAUTHENTICATED",
}


def mask_uri(uri: str) -> str:
    """`uri` without user, password and query, fit for messages and logs."""
    parts = urlsplit(uri)
    if not parts.netloc:
        return uri.split("?", 1)[0]
    netloc = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{'***@' if '@' in parts.netloc else ''}{netloc}{parts.path}"


def normalize_uri(uri: str) -> str:
    """`uri` in MLflow's words: it does not know `postgres://`, which many hosts print."""
    return re.sub(r"^postgres://", "postgresql://", uri.strip(), flags=re.IGNORECASE)


def sqlite_path(uri: str) -> Path | None:
    """The file of a `sqlite:///` URI, None for every other kind."""
    return Path(unquote(urlsplit(uri).path[1:])) if uri.startswith("sqlite:///") else None


@contextmanager
def quiet_mlflow_import() -> Iterator[None]:
    """Import parts of MLflow without the warnings they raise about MLflow's own source."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"The ``noload`` loader strategy", DeprecationWarning)
        warnings.filterwarnings("ignore", r".*Any type hint is inferred as AnyType", UserWarning)
        yield


class MlflowConnection:
    """One lazily opened MLflow client bound to a URI, sharing no process-wide setting."""

    def __init__(self, uri: str) -> None:
        self.uri = normalize_uri(uri)

    @cached_property
    def client(self) -> "MlflowClient":
        """The client; opening it creates or upgrades the tables of a database URI."""
        self._probe()
        self.create_tables()
        try:
            with quiet_mlflow_import(), _file_lock(sqlite_path(self.uri)):
                from mlflow import MlflowClient

                return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        except Exception as error:  # a process edge: SQLAlchemy's errors belong to a library of another room
            raise self._unavailable(error) from error

    @contextmanager
    def session(self, missing: Callable[[], RegistryError] | None = None) -> Iterator["MlflowClient"]:
        """Lend the client; what it raises leaves as RegistryError, an absent record as `missing()`."""
        from mlflow.exceptions import MlflowException

        try:
            yield self.client
        except MlflowException as error:
            if missing is not None and error.error_code == NOT_FOUND_CODE:
                raise missing() from error
            if error.error_code in REFUSED_CODES or error.error_code == NOT_FOUND_CODE:
                raise RegistryError(f"{mask_uri(self.uri)} refused: {self._reason(error)}") from error
            raise self._unavailable(error) from error
        except RegistryError:
            raise
        except OSError as error:
            raise self._unavailable(error) from error

    def check(self) -> None:
        """Ask the store one small question, so that silence is noticed now and a cold store is warm."""
        with self.session() as client:
            client.search_experiments(max_results=1)

    def create_tables(self) -> None:
        """Make the tables of a new SQLite store, whole or not at all; other databases make theirs in transactions."""
        path = sqlite_path(self.uri)
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with quiet_mlflow_import(), _file_lock(path):
                    create_tables(path)
            except Exception as error:  # as in `client`
                raise self._unavailable(error) from error

    def _probe(self) -> None:
        """Fail at once where MLflow would retry opening a database for 100 seconds."""
        scheme = urlsplit(self.uri).scheme.partition("+")[0]
        path = sqlite_path(self.uri)
        try:
            if path is not None:
                _open_sqlite(path)
            elif scheme in DATABASE_PORTS:
                _connect(self.uri, DATABASE_PORTS[scheme])
        except OSError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: BaseException) -> RegistryUnavailableError:
        return RegistryUnavailableError(
            f"The model registry at {mask_uri(self.uri)} did not answer: {self._reason(_root_cause(error))}. "
            "Check that its server or database is running and that the address is right."
        )

    def _reason(self, error: BaseException) -> str:
        text = str(error).strip() or type(error).__name__
        parts = urlsplit(self.uri)
        named = (value for name, values in parse_qs(parts.query).items() if "pass" in name for value in values)
        for secret in filter(None, (parts.password, *named)):
            text = text.replace(secret, "***").replace(unquote(secret), "***")
        return re.sub(r"\s+", " ", text)[:300].rstrip(". ")


def _root_cause(error: BaseException) -> BaseException:
    """The first failure of a chain, which says in few words what the last one says in many."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return error


def _open_sqlite(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        file.seek(0)
        head = file.read(len(SQLITE_MAGIC))
    if head not in (b"", SQLITE_MAGIC):
        raise OSError(f"{path.name} is not a SQLite database")


@contextmanager
def _file_lock(path: Path | None) -> Iterator[None]:
    """One process at a time for a database file: MLflow's own creation of tables fails where two begin it.

    Where no lock can be had, in time or at all, things go on without: only the first creation needs it.
    """
    lock = None if path is None else _acquire_lock(path)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)  # which gives it back, as does the death of the process


def _acquire_lock(path: Path) -> int | None:
    try:
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:  # another user's file, or a folder that is only read
        return None
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.05)
                continue
        return lock


def _connect(uri: str, default_port: int) -> None:
    parts = urlsplit(uri)
    if parts.hostname is None:
        return
    with socket.create_connection((parts.hostname, parts.port or default_port), CONNECT_SECONDS):
        pass


@dataclass(frozen=True)
class _RetryPolicy:
    seconds: float
    sleep: Callable[[float], object]
    clock: Callable[[], float]


_retry_policy: Final[ContextVar[_RetryPolicy | None]] = ContextVar("patience", default=None)


@contextmanager
def retry_for(
    seconds: float, sleep: Callable[[float], object] = time.sleep, clock: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """Let each call of the registry that is made in here be made again while its store is away, for so long."""
    before = _retry_policy.set(_RetryPolicy(seconds, sleep, clock))
    try:
        yield
    finally:
        _retry_policy.reset(before)


def retry_while_unavailable(call: Callable[P, T]) -> Callable[P, T]:
    """The call, made again while the store is away where somebody is patient; for calls that may be made twice."""

    @functools.wraps(call)
    def calling(*args: P.args, **kwargs: P.kwargs) -> T:
        patience = _retry_policy.get()
        if patience is None:
            return call(*args, **kwargs)
        until, delay = patience.clock() + patience.seconds, INITIAL_DELAY_SECONDS
        while True:
            try:
                with _without_retries():  # a call within this one is made again by this one
                    return call(*args, **kwargs)
            except RegistryUnavailableError as error:
                if patience.clock() + delay > until:
                    raise
                log.warning("%s is tried again in %.1f s: %s", call.__name__, delay, error)
                patience.sleep(delay)
                delay = min(2 * delay, MAX_DELAY_SECONDS)

    return calling


@contextmanager
def _without_retries() -> Iterator[None]:
    before = _retry_policy.set(None)
    try:
        yield
    finally:
        _retry_policy.reset(before)
