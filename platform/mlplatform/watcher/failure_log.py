"""Logs failures of jobs that a watcher outlives: a database or registry that is away, a lease that has passed on."""

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec

from mlplatform.errors import FencedError, PlatformError
from monitors.errors import MonitorError
from registry.errors import RegistryError

log = logging.getLogger(__name__)
Arguments = ParamSpec("Arguments")


def log_failures(job: Callable[Arguments, object], name: str) -> Callable[Arguments, None]:
    """The job with its expected failures logged under this name; others are raised."""

    @functools.wraps(job)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            job(*args, **kwargs)
        except FencedError as error:
            log.warning("%s", error)
        except (PlatformError, RegistryError, MonitorError) as error:
            log.error("%s: %s", name, error)

    return run
