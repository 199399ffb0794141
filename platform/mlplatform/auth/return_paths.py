"""Where a browser goes back to after signing in: to a path of this server and to nothing else."""

import re
from typing import Final

MAX_PATH_LENGTH: Final = 500
OWN_PATH: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""A path of this server: printable ASCII without spaces and backslashes, which browsers read as slashes."""
SIGN_IN_PATHS: Final = ("/sign-in", "/sign-out")


def own_path(text: str) -> str:
    """The path, where it is one of this server; the overview for anything else, and for pages to sign in and out."""
    is_own = len(text) <= MAX_PATH_LENGTH and OWN_PATH.fullmatch(text) is not None
    return text if is_own and not text.startswith(SIGN_IN_PATHS) else "/"
