"""The address of a page of the API server, as whoever asks on this machine reaches it."""

from typing import Final
from urllib.parse import quote

from mlplatform.alerting.links import http_url
from mlplatform.errors import InvalidInputError
from mlplatform.settings import PAGE_PATHS, SIGN_IN_PATHS, Settings

ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - what nobody can connect to
OPENED_PATHS: Final = (PAGE_PATHS - SIGN_IN_PATHS) | {"account", "docs"}


def page_address(settings: Settings, page: str = "") -> str:
    """The public address where one is set, else that of this machine; raises InvalidInputError for no page."""
    path = page.strip("/")
    if path and path.partition("/")[0] not in OPENED_PATHS:
        raise InvalidInputError(f"page {page[:100]!r} is none; there are: {', '.join(sorted(OPENED_PATHS))}")
    base = settings.public_url.rstrip("/")
    if not base:
        host = ANY_ADDRESS.get(settings.host, settings.host)
        base = http_url(host, settings.port) + settings.root_path
    return f"{base}/{quote(path)}"
