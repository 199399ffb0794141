"""What can go wrong when somebody signs in."""

from mlplatform.errors import PlatformError


class SignInRefusedError(PlatformError, PermissionError):
    """Somebody is not let in; the text says why and what to do."""


class ProviderUnavailableError(PlatformError, ConnectionError):
    """The OpenID provider cannot be asked, or answers with what cannot be used."""
