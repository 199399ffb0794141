"""The store's address: every form that clouds print is taken or refused in a sentence, and none shows a password."""

import subprocess
import sys

import pytest

from mlplatform.errors import SettingsError
from mlplatform.store.database import Database
from mlplatform.store.urls import parse_database_url

SECRET = "s3cretword"


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("postgres://u:p@h/d", {"user": "u", "password": "p", "host": "h", "dbname": "d"}),
        ("postgresql://u:p@h:6543/d", {"user": "u", "password": "p", "host": "h", "port": "6543", "dbname": "d"}),
        ("postgresql+psycopg://u@h/d", {"user": "u", "host": "h", "dbname": "d"}),
        ("postgresql+psycopg2://u@h/d", {"user": "u", "host": "h", "dbname": "d"}),
        ("postgresql+asyncpg://u@h/d?ssl=require", {"user": "u", "host": "h", "dbname": "d", "sslmode": "require"}),
        ("POSTGRES://u@h/d", {"user": "u", "host": "h", "dbname": "d"}),
        ("  postgres://u@h/d \n", {"user": "u", "host": "h", "dbname": "d"}),
        (
            "postgresql://u:p%40s%2Fs%3A%25@h/d?sslmode=require&channel_binding=require",
            {
                "user": "u",
                "password": "p@s/s:%",
                "host": "h",
                "dbname": "d",
                "sslmode": "require",
                "channel_binding": "require",
            },
        ),
        ("postgresql://u:100%@h/d", {"user": "u", "password": "100%", "host": "h", "dbname": "d"}),
        ("postgresql://u:a b@h/d", {"user": "u", "password": "a b", "host": "h", "dbname": "d"}),
        ("postgresql://h/d?user=u&password=p", {"user": "u", "password": "p", "host": "h", "dbname": "d"}),
        ("postgres://u@/d?host=/cloudsql/p:r:i", {"user": "u", "host": "/cloudsql/p:r:i", "dbname": "d"}),
        ("postgres://u@%2Fvar%2Frun%2Fpostgresql/d", {"user": "u", "host": "/var/run/postgresql", "dbname": "d"}),
        ("postgres:///d", {"dbname": "d"}),
        ("postgres://u@[::1]:5433/d", {"user": "u", "host": "::1", "port": "5433", "dbname": "d"}),
        (
            "postgres://u@a:1,b:2/d?target_session_attrs=any",
            {"user": "u", "host": "a,b", "port": "1,2", "dbname": "d", "target_session_attrs": "any"},
        ),
        (
            "postgres://u@a,b/d",
            {"user": "u", "host": "a,b", "dbname": "d", "target_session_attrs": "read-write"},
        ),
        (
            "postgres://u@h/d?options=-c+search_path%3Dx",
            {"user": "u", "host": "h", "dbname": "d", "options": "-c search_path=x"},
        ),
        ("postgres://u@h/d?pgbouncer=true&connection_limit=1&schema=public", {"user": "u", "host": "h", "dbname": "d"}),
        ("postgres://u@h?sslmode=disable", {"user": "u", "host": "h", "sslmode": "disable"}),
        ("postgres://u@h/my%20base", {"user": "u", "host": "h", "dbname": "my base"}),
    ],
)
def test_a_url_of_postgres_means_what_its_author_meant(url: str, meant: dict[str, str]) -> None:
    found = parse_database_url(url)
    ports = {"port": found.parameters["port"]} if "port" in meant else {}
    assert {name: value for name, value in found.parameters.items() if name != "port"} | ports == meant
    assert not found.is_sqlite


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://u:s3cretword@h/d", "mysql"),
        ("mysql+pymysql://u:s3cretword@h/d", "PostgreSQL or SQLite only"),
        ("mssql+pyodbc://u:s3cretword@h/d", "mssql"),
        ("oracle://u:s3cretword@h/d", "oracle"),
        ("cockroachdb://u:s3cretword@h/d", "cockroachdb"),
        ("mongodb+srv://u:s3cretword@h/d", "mongodb"),
        ("jdbc:postgresql://h/d?user=u&password=s3cretword", "jdbc:"),
        ("host=h dbname=d user=u password=s3cretword", "as a URL"),
        ('"postgres://u:s3cretword@h/d"', "quotes"),
        ("s3cretword", "no URL"),
        ("postgres://u:s3cretword@x@h/d", "%40"),
        ("postgres://u:x@s3cretword@h/d", "%40"),
        ("postgres://u:s3cretword/x@h/d", "%2F"),
        ("postgres://u:x/s3cretword@h/d", "%2F"),
        ("postgres://u:x#s3cretword@h/d", "%23"),
        ("postgres://u:x?s3cretword@h/d", "%3F"),
        ("postgres://u:s3cretword?x=1@h/d", "%3F"),
        ("postgres://u@h:s3cretword/d", "no port"),
        ("postgres://u@h/d?passwort=s3cretword", "'passwort'"),
        ("postgres://u:p@h:99999/d", "no port"),
        ("sqlite://s3cretword/file.db", "three slashes"),
        ("", "no URL"),
    ],
)
def test_any_other_is_refused_in_a_sentence_that_repeats_no_secret(url: str, words: str) -> None:
    with pytest.raises(SettingsError, match="PLATFORM_DATABASE_URL") as caught:
        parse_database_url(url)
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgres://u:s3cretword@h:5433/d", "postgresql://u:***@h:5433/d"),
        ("postgres://u@h/d?password=s3cretword", "postgresql://u:***@h/d"),
        ("postgres://u@h/d?sslpassword=s3cretword&sslmode=require", "postgresql://u@h/d"),
        ("postgres://u@h/d?passfile=/etc/s3cretword", "postgresql://u@h/d"),
        ("postgres://u:s3cretword@a:1,b:2/d", "postgresql://u:***@a:1,b:2/d"),
        ("postgres://u:s3cretword@/d?host=/cloudsql/p:r:i", "postgresql://u:***@/d?host=/cloudsql/p:r:i"),
        ("sqlite:////var/lib/p.db?s3cretword=1", "sqlite:////var/lib/p.db"),
    ],
)
def test_what_is_shown_has_hosts_and_database_and_nothing_secret(url: str, shown: str) -> None:
    assert parse_database_url(url).display_url == shown
    assert SECRET not in repr(parse_database_url(url))


def test_a_library_that_repeats_the_password_is_corrected() -> None:
    address = parse_database_url("postgres://u:p%40ss@h/d?sslpassword=other")
    assert address.redact("tried p@ss, p%40ss and other") == "tried ***, *** and ***"


def test_a_driver_that_is_missing_is_a_sentence_and_no_traceback() -> None:
    code = "import sys; sys.modules['psycopg'] = None; from mlplatform.cli import main; main()"
    env = {"PLATFORM_DATABASE_URL": "postgres://u:s3cretword@h/d", "PYTHONPATH": ":".join(sys.path)}
    seen = subprocess.run([sys.executable, "-c", code, "status"], env=env, capture_output=True, text=True, timeout=60)
    assert seen.returncode == 3, seen.stderr
    assert "pip install 'psycopg[binary]'" in seen.stderr
    assert "Traceback" not in seen.stderr
    assert SECRET not in seen.stderr + seen.stdout


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:p%40s@h:6543/d?sslmode=disable&options=-csearch_path%3Dx",
        "postgres://u:p@a:1,b:2/d?target_session_attrs=any",
        "postgres://u:p@a,b/d",
        "postgres://u:p@/d?host=/cloudsql/p:r:i",
        "postgres://u@[::1]/d",
        "postgres:///d",
    ],
)
def test_an_engine_is_made_for_every_form_and_names_the_same_server(url: str) -> None:
    database = Database(url)
    again = parse_database_url(database._engine.url.render_as_string(hide_password=False))
    assert again.parameters == parse_database_url(url).parameters
    database.close()
