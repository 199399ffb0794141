"""Parses the database's address as people write it, in any form a cloud prints, and shows it without its password."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from mlplatform.errors import SettingsError

POSTGRES_SCHEME: Final = re.compile(r"(postgres|postgresql)(\+\w+)?://", re.IGNORECASE)
SQLITE_SCHEME: Final = re.compile(r"sqlite(\+\w+)?://", re.IGNORECASE)
URL_SCHEME: Final = re.compile(r"[A-Za-z][\w+.:-]*(?=://)")
IGNORED_PARAMETERS: Final = ("schema", "pgbouncer", "connection_limit", "pool_timeout", "statement_cache_size")
"""Parameters of other languages' clients that hosts print behind their addresses and PostgreSQL's own does not know."""
RENAMED_PARAMETERS: Final = {"ssl": "sslmode"}
SECRET_PARAMETERS: Final = ("password", "sslpassword", "passfile", "oauth_client_secret", "sslkeylogfile")
URL_EXAMPLES: Final = "postgresql://user:password@host/database or sqlite:////path/to/file.db"
MASK: Final = "***"


@dataclass(frozen=True)
class DatabaseAddress:
    """Where the tables are: `shown` is fit for messages; `connect` is for PostgreSQL's client, `file` for SQLite's."""

    display_url: str
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    sqlite_url: URL | None = field(default=None, repr=False)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self.sqlite_url is not None

    def redact(self, text: str) -> str:
        """A library's words without what only this process and the server may know."""
        for name in SECRET_PARAMETERS:
            secret = self.parameters.get(name, "")
            for written in {secret, quote(secret, safe="")} - {""}:
                text = text.replace(written, MASK)
        return text


def parse_database_url(url: str) -> DatabaseAddress:
    """The address that a URL means; SettingsError says what is wrong with it and repeats nothing secret."""
    written = url.strip()
    if POSTGRES_SCHEME.match(written):
        return _parse_postgres(written)
    if SQLITE_SCHEME.match(written):
        return _parse_sqlite(written)
    raise _settings_error(_describe_unknown_url(written))


def _describe_unknown_url(written: str) -> str:
    if written[:1] in "\"'" and written:
        return "it begins with a quotation mark: leave the quotes out"
    if written.lower().startswith("jdbc:"):
        return "it is an address of Java's (jdbc:): write it without `jdbc:`, user and password before the host"
    if re.match(r"\w+\s*=", written):
        return "it is a list of words (host=... dbname=...): write it as a URL"
    scheme = URL_SCHEME.match(written)
    if scheme is None:
        return "it is no URL"
    return f"it names {scheme[0]}, and tables are kept in PostgreSQL or SQLite only"


def _settings_error(why: str) -> SettingsError:
    return SettingsError(f"PLATFORM_DATABASE_URL does not work here: {why}. Use {URL_EXAMPLES}")


def _parse_sqlite(written: str) -> DatabaseAddress:
    try:
        parsed = make_url(SQLITE_SCHEME.sub("sqlite://", written, count=1))
    except ArgumentError:
        raise _settings_error("it is no URL of a file") from None
    if parsed.host or parsed.username:
        raise _settings_error("sqlite:// needs three slashes before a path, four before one that begins at the root")
    return DatabaseAddress(f"sqlite:///{parsed.database or ''}", sqlite_url=parsed)


def _parse_postgres(written: str) -> DatabaseAddress:
    """Read by PostgreSQL's own client, which knows several hosts, sockets and every parameter it understands."""
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict
    except ImportError as error:
        raise SettingsError(
            f"PLATFORM_DATABASE_URL names PostgreSQL, whose driver cannot be loaded here ({error}); "
            "install it: pip install 'psycopg[binary]'"
        ) from error
    rest = POSTGRES_SCHEME.sub("", written, count=1)
    authority, slash, behind = _split_authority(rest)
    path, mark, query = behind.partition("?")
    _check_authority(authority, path)
    parameters = _translate_parameters(query)
    standard = f"postgresql://{_percent_encode(authority)}{slash}{_percent_encode(path)}{mark and '?'}{parameters}"
    try:
        known = {name: str(value) for name, value in conninfo_to_dict(standard).items() if value is not None}
    except ProgrammingError as error:
        raise _settings_error(_safe_reason(str(error), authority, query)) from None
    for port in filter(None, known.get("port", "").split(",")):
        if not (port.isdecimal() and 0 < int(port) < 65536):
            raise _settings_error("what stands after the host's colon is no port; " + ENCODING_HINT)
    if "," in known.get("host", ""):
        known.setdefault("target_session_attrs", "read-write")  # a standby takes no rows
    return DatabaseAddress(_display_url(known), parameters=known)


ENCODING_HINT: Final = "write / : @ ? # % in a user's name or password as %2F %3A %40 %3F %23 %25"


def _split_authority(rest: str) -> tuple[str, str, str]:
    """User and hosts; the slash; path and query. A `?` may follow the hosts at once."""
    found = re.search(r"[/?]", rest)
    if found is None:
        return rest, "", ""
    at = found.start()
    return rest[:at], "/", rest[at + (found[0] == "/") :]


def _check_authority(authority: str, path: str) -> None:
    """Refuse what PostgreSQL's client would take apart elsewhere than meant, and then show in its words."""
    port = authority.rpartition("]")[2].partition(":")[2]
    torn = "@" not in authority and not re.fullmatch(r"[\d,:]*", re.sub(r",[^:,]*", ",", port))
    if authority.count("@") > 1 or "#" in authority or "@" in path or torn:
        raise _settings_error("its user or password has a character that means something in a URL; " + ENCODING_HINT)


def _percent_encode(text: str) -> str:
    """Percent signs that begin no code, blanks and control characters as codes, as most libraries read them."""
    return re.sub(r"%(?![0-9A-Fa-f]{2})|[\s\x00-\x1f]", lambda found: quote(found[0], safe=""), text)


def _translate_parameters(query: str) -> str:
    """The parameters that PostgreSQL's client knows, those of other clients translated or left out."""
    kept = []
    for part in filter(None, query.split("&")):
        name, mark, value = part.partition("=")
        if name in IGNORED_PARAMETERS:
            continue
        if name == "ssl":
            value = {"true": "require", "1": "require", "false": "disable", "0": "disable"}.get(value.lower(), value)
        if name == "options":
            value = value.replace("+", "%20")
        kept.append(f"{RENAMED_PARAMETERS.get(name, name)}{mark}{_percent_encode(value)}")
    return "&".join(kept)


def _safe_reason(reason: str, authority: str, query: str) -> str:
    """What the client says is wrong, unless it repeats a part of user, password or parameters' values."""
    spoken = re.search(r'parameter: "(\w+)"', reason)
    if spoken and f"{spoken[1]}=" in query and not authority.count("?"):
        return f"PostgreSQL's client knows no parameter {spoken[1]!r}"
    return "PostgreSQL's client cannot read it; " + ENCODING_HINT


def _display_url(parameters: Mapping[str, str]) -> str:
    user = unquote(parameters.get("user", ""))
    who = f"{user}:{MASK}@" if "password" in parameters else f"{user}@" if user else ""
    hosts, ports = (
        parameters.get("host", parameters.get("hostaddr", "")).split(","),
        parameters.get("port", "").split(","),
    )
    database = parameters.get("dbname", "")
    if hosts[0].startswith(("/", "@")):
        return f"postgresql://{who}/{database}?host={','.join(hosts)}"
    ports = ports * len(hosts) if len(ports) == 1 else ports
    places = [
        (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
        for host, port in zip(hosts, ports, strict=False)
    ]
    return f"postgresql://{who}{','.join(places)}/{database}"
