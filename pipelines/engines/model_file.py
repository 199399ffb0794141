"""Reads a model's file, and tells faults of the file from passing faults of the machine.

A file that is missing is a fault of the model's copy. A file that cannot be opened for want of descriptors or memory is
a whole file: to call it damaged would end a trial, or leave a version aside, for what passes.
"""

from pathlib import Path
from typing import Final

from pipelines.errors import ModelFormatError, ModelUnreadableError

TRANSIENT_ERRORS: Final = (OSError, MemoryError, ImportError)
"""What a library raises when the machine is short of something; it may as well find a library's own file unreadable."""


def read_model_bytes(path: Path) -> bytes:
    """The file's content. Raises ModelFormatError where there is none, ModelUnreadableError where it cannot be had."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelFormatError(f"cannot read the model {path}: {error}; download it again") from error
    except TRANSIENT_ERRORS as error:
        raise unreadable_error(path, error) from error


def unreadable_error(path: Path | str, error: BaseException) -> ModelUnreadableError:
    """The error for a model that cannot be opened just now."""
    return ModelUnreadableError(f"the model {path} cannot be read now ({error or type(error).__name__}); try again")
