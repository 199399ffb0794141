"""What can go wrong in the demo."""

from mlplatform.errors import PlatformError


class DemoFailedError(PlatformError, RuntimeError):
    """A step of the demo did not happen."""
