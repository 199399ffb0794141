"""The store's address as people write it, in any form a cloud prints; it opens nothing and shows no password."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from mlplatform.errors import SettingsError

POSTGRES: Final = re.compile(r"(postgres|postgresql)(\+\w+)?://", re.IGNORECASE)
SQLITE: Final = re.compile(r"sqlite(\+\w+)?://", re.IGNORECASE)
SCHEME: Final = re.compile(r"[A-Za-z][\w+.:-]*(?=://)")
FOREIGN: Final = ("schema", "pgbouncer", "connection_limit", "pool_timeout", "statement_cache_size")
"""Parameters of other languages' clients that hosts print behind their addresses and PostgreSQL's own does not know."""
TRANSLATED: Final = {"ssl": "sslmode"}
SECRET: Final = ("password", "sslpassword", "passfile", "oauth_client_secret", "sslkeylogfile")
EXAMPLES: Final = "postgresql://user:password@host/database or sqlite:////path/to/file.db"
HIDDEN: Final = "***"


@dataclass(frozen=True)
class Address:
    """Where the tables are: `shown` is fit for messages; `connect` is for PostgreSQL's client, `file` for SQLite's."""

    shown: str
    connect: Mapping[str, str] = field(default_factory=dict, repr=False)
    file: URL | None = field(default=None, repr=False)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self.file is not None

    def without_secrets(self, text: str) -> str:
        """A library's words without what only this process and the server may know."""
        for name in SECRET:
            secret = self.connect.get(name, "")
            for written in {secret, quote(secret, safe="")} - {""}:
                text = text.replace(written, HIDDEN)
        return text


def address_of(url: str) -> Address:
    """The address that a URL means; SettingsError says what is wrong with it and repeats nothing secret."""
    written = url.strip()
    if POSTGRES.match(written):
        return _postgres(written)
    if SQLITE.match(written):
        return _sqlite(written)
    raise _wrong(_what_it_is(written))


def _what_it_is(written: str) -> str:
    if written[:1] in "\"'" and written:
        return "it begins with a quotation mark: leave the quotes out"
    if written.lower().startswith("jdbc:"):
        return "it is an address of Java's (jdbc:): write it without `jdbc:`, user and password before the host"
    if re.match(r"\w+\s*=", written):
        return "it is a list of words (host=... dbname=...): write it as a URL"
    scheme = SCHEME.match(written)
    if scheme is None:
        return "it is no URL"
    return f"it names {scheme[0]}, and tables are kept in PostgreSQL or SQLite only"


def _wrong(why: str) -> SettingsError:
    return SettingsError(f"PLATFORM_DATABASE_URL does not work here: {why}. Use {EXAMPLES}")


def _sqlite(written: str) -> Address:
    try:
        parsed = make_url(SQLITE.sub("sqlite://", written, count=1))
    except ArgumentError:
        raise _wrong("it is no URL of a file") from None
    if parsed.host or parsed.username:
        raise _wrong("sqlite:// needs three slashes before a path, four before one that begins at the root")
    return Address(f"sqlite:///{parsed.database or ''}", file=parsed)


def _postgres(written: str) -> Address:
    """Read by PostgreSQL's own client, which knows several hosts, sockets and every parameter it understands."""
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict
    except ImportError as error:
        raise SettingsError(
            f"PLATFORM_DATABASE_URL names PostgreSQL, whose driver cannot be loaded here ({error}); "
            "install it: pip install 'psycopg[binary]'"
        ) from error
    rest = POSTGRES.sub("", written, count=1)
    authority, slash, behind = _split(rest)
    path, mark, query = behind.partition("?")
    _check(authority, path)
    parameters = _parameters(query)
    standard = f"postgresql://{_encoded(authority)}{slash}{_encoded(path)}{mark and '?'}{parameters}"
    try:
        known = {name: str(value) for name, value in conninfo_to_dict(standard).items() if value is not None}
    except ProgrammingError as error:
        raise _wrong(_harmless(str(error), authority, query)) from None
    for port in filter(None, known.get("port", "").split(",")):
        if not (port.isdecimal() and 0 < int(port) < 65536):
            raise _wrong("what stands after the host's colon is no port; " + ENCODE)
    if "," in known.get("host", ""):
        known.setdefault("target_session_attrs", "read-write")  # a standby takes no rows
    return Address(_shown(known), connect=known)


ENCODE: Final = "write / : @ ? # % in a user's name or password as %2F %3A %40 %3F %23 %25"


def _split(rest: str) -> tuple[str, str, str]:
    """User and hosts; the slash; path and query. A `?` may follow the hosts at once."""
    found = re.search(r"[/?]", rest)
    if found is None:
        return rest, "", ""
    at = found.start()
    return rest[:at], "/", rest[at + (found[0] == "/") :]


def _check(authority: str, path: str) -> None:
    """Refuse what PostgreSQL's client would take apart elsewhere than meant, and then show in its words."""
    port = authority.rpartition("]")[2].partition(":")[2]
    torn = "@" not in authority and not re.fullmatch(r"[\d,:]*", re.sub(r",[^:,]*", ",", port))
    if authority.count("@") > 1 or "#" in authority or "@" in path or torn:
        raise _wrong("its user or password has a character that means something in a URL; " + ENCODE)


def _encoded(text: str) -> str:
    """Percent signs that begin no code, blanks and control characters as codes, as most libraries read them."""
    return re.sub(r"%(?![0-9A-Fa-f]{2})|[\s\x00-\x1f]", lambda found: quote(found[0], safe=""), text)


def _parameters(query: str) -> str:
    """The parameters that PostgreSQL's client knows, those of other clients translated or left out."""
    kept = []
    for part in filter(None, query.split("&")):
        name, mark, value = part.partition("=")
        if name in FOREIGN:
            continue
        if name == "ssl":
            value = {"true": "require", "1": "require", "false": "disable", "0": "disable"}.get(value.lower(), value)
        if name == "options":
            value = value.replace("+", "%20")
        kept.append(f"{TRANSLATED.get(name, name)}{mark}{_encoded(value)}")
    return "&".join(kept)


def _harmless(reason: str, authority: str, query: str) -> str:
    """What the client says is wrong, unless it repeats a part of user, password or parameters' values."""
    spoken = re.search(r'parameter: "(\w+)"', reason)
    if spoken and f"{spoken[1]}=" in query and not authority.count("?"):
        return f"PostgreSQL's client knows no parameter {spoken[1]!r}"
    return "PostgreSQL's client cannot read it; " + ENCODE


def _shown(known: Mapping[str, str]) -> str:
    user = unquote(known.get("user", ""))
    who = f"{user}:{HIDDEN}@" if "password" in known else f"{user}@" if user else ""
    hosts, ports = known.get("host", known.get("hostaddr", "")).split(","), known.get("port", "").split(",")
    database = known.get("dbname", "")
    if hosts[0].startswith(("/", "@")):
        return f"postgresql://{who}/{database}?host={','.join(hosts)}"
    ports = ports * len(hosts) if len(ports) == 1 else ports
    places = [
        (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
        for host, port in zip(hosts, ports, strict=False)
    ]
    return f"postgresql://{who}{','.join(places)}/{database}"
