"""Tells which version of a package is installed."""

from importlib import metadata


def installed_version(package: str) -> str:
    """The installed version of a package, `absent` when it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"
