"""Whether people can sign in: what the settings name is read, and the provider is asked for its documents."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from mlplatform.access_settings import is_loopback
from mlplatform.auth.oidc.setup import CALLBACK_PATH, create_sign_in
from mlplatform.auth.sign_in_errors import ProviderUnavailableError
from mlplatform.context import AppContext
from mlplatform.errors import SettingsError


def check_sign_in(context: AppContext) -> Iterator[tuple[str, str]]:
    """What hinders people at the provider that the settings name; nothing where they name none."""
    settings = context.settings
    try:
        sign_in = create_sign_in(settings, lambda: context.database, context.clock)
        if sign_in is None:
            return
        sign_in.provider.endpoints()
    except (SettingsError, ProviderUnavailableError) as error:
        yield "problem", f"nobody can sign in at {settings.oidc_issuer}: {error}"
        return
    public = urlsplit(settings.public_url)
    if public.scheme != "https" and not is_loopback(public.hostname or ""):
        yield "problem", f"sessions go unencrypted to {settings.public_url} (PLATFORM_PUBLIC_URL); put TLS before it"
    redirect = settings.public_url.rstrip("/") + CALLBACK_PATH
    yield "ok", f"people sign in at {settings.oidc_issuer}; it must know the redirect address {redirect}"
