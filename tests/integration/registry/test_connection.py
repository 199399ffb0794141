"""The line to one MLflow store, and its failures."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from registry.errors import RegistryError, RegistryUnavailableError, UnknownVersionError
from registry.mlflow_connection import MlflowConnection, mask_uri, sqlite_path
from registry.runs import TrackingStore
from tests.support.mlflow_store import free_port


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql+psycopg://me:pw@db:5432/mlflow?password=x", "postgresql+psycopg://***@db:5432/mlflow"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:///data/m.db", "sqlite:///data/m.db"),
    ],
)
def test_masking_hides_who_and_keeps_where(uri: str, shown: str) -> None:
    assert mask_uri(uri) == shown


def test_a_sqlite_uri_has_a_path_and_others_have_none() -> None:
    assert sqlite_path("sqlite:////data/m.db") == Path("/data/m.db")
    assert sqlite_path("http://127.0.0.1") is None


def test_a_refused_server_is_reported_at_once() -> None:
    with pytest.raises(RegistryUnavailableError, match="refused"):
        MlflowConnection(f"http://127.0.0.1:{free_port()}").check()


def test_a_silent_server_is_reported_after_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(RegistryUnavailableError, match="timed out"):
            MlflowConnection(f"http://127.0.0.1:{silent.getsockname()[1]}").check()


def test_a_refused_database_is_reported_without_the_password() -> None:
    with pytest.raises(RegistryUnavailableError, match=r"\*\*\*@127\.0\.0\.1") as caught:
        MlflowConnection(f"postgresql+psycopg://me:hunter2@127.0.0.1:{free_port()}/mlflow").check()
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_database_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "m.db"
    file.write_text("not a database")
    with pytest.raises(RegistryUnavailableError, match=r"m\.db is not a SQLite database"):
        MlflowConnection(f"sqlite:///{file}").check()


def test_a_path_through_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(RegistryUnavailableError, match="taken"):
        MlflowConnection(f"sqlite:///{tmp_path / 'taken' / 'm.db'}").check()


def test_a_store_whose_creation_was_killed_is_created_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's own creation, killed amid its migrations, leaves a file that it never opens again."""
    from mlflow.store.db import utils

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"

    def killed(_engine: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(utils, "_upgrade_db", killed)
        with pytest.raises(SystemExit):
            MlflowConnection(uri).create_tables()
    assert [file.name for file in tmp_path.glob("*.building")] != []
    connection = MlflowConnection(uri)
    connection.check()
    with connection.session() as client:
        assert [len(client.search_experiments()), len(client.search_registered_models())] == [1, 0]
    assert list(tmp_path.glob("*.building")) == []


@pytest.mark.slow
def test_processes_that_begin_one_store_together_all_find_it_whole(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from registry.mlflow_connection import MlflowConnection\n"
        "connection = MlflowConnection(sys.argv[1])\n"
        "with connection.session() as client:\n"
        "    print(len(client.search_experiments()), len(client.search_registered_models()))\n"
    )
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    begun = [
        subprocess.Popen([sys.executable, "-c", code, uri], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    told = [process.communicate(timeout=110) for process in begun]
    assert [out.strip() for out, _ in told] == ["1 0"] * 4, [errors[-500:] for _, errors in told]


def test_an_address_that_is_no_store_is_reported() -> None:
    with pytest.raises(RegistryError, match="gopher"):
        MlflowConnection("gopher://nowhere").check()


def test_an_absent_record_becomes_the_error_the_caller_names(tracking: TrackingStore) -> None:
    connection = tracking.connection
    with pytest.raises(UnknownVersionError), connection.session(lambda: UnknownVersionError("x")) as client:
        client.get_registered_model("absent")
    with pytest.raises(RegistryError, match="absent"), connection.session() as client:
        client.get_registered_model("absent")


def test_importing_the_room_does_not_import_mlflow() -> None:
    rooms = "registry.runs, registry.catalog, registry.gate.verdict, registry.card, registry.mlflow_server"
    code = f"import sys, {rooms}; sys.exit(bool({{'mlflow', 'torch', 'pandas'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_address_as_many_hosts_print_it_is_one_that_mlflow_knows() -> None:
    assert MlflowConnection("postgres://u:p@h/d").uri == "postgresql://u:p@h/d"
    assert MlflowConnection(" sqlite:///a.db\n").uri == "sqlite:///a.db"


def test_a_password_among_the_parameters_is_in_no_message() -> None:
    away = MlflowConnection("postgresql://u@127.0.0.1:1/d?password=s3cretword")
    with pytest.raises(RegistryUnavailableError) as caught:
        _ = away.client
    assert "s3cretword" not in str(caught.value)
    assert "s3cretword" not in away._reason(ValueError("tried s3cretword"))
