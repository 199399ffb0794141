"""Makes what people sign in with from the settings; its libraries are loaded only where a provider is named."""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from mlplatform.auth.sessions import Sessions
from mlplatform.clock import Clock
from mlplatform.scopes import parse_group_scopes
from mlplatform.settings import Settings
from mlplatform.store.database import Database

if TYPE_CHECKING:
    from mlplatform.auth.oidc.sign_in import SignIn

CALLBACK_PATH: Final = "/sign-in/callback"


def create_sign_in(settings: Settings, database: Callable[[], Database], clock: Clock) -> "SignIn | None":
    """The sign-in at the provider that the settings name; None where they name none. Raises SettingsError."""
    if not settings.oidc_issuer:
        return None
    from mlplatform.auth.oidc.provider import ClientRegistration, OidcProvider
    from mlplatform.auth.oidc.provider_connection import ProviderConnection
    from mlplatform.auth.oidc.sign_in import SignIn

    registration = ClientRegistration(
        settings.oidc_client_id,
        settings.read_client_secret(),
        settings.public_url.rstrip("/") + CALLBACK_PATH,
        settings.oidc_scope,
    )
    connection = ProviderConnection(settings.oidc_issuer, settings.allowed_receivers)
    sessions = Sessions(
        database,
        clock,
        issuer=settings.oidc_issuer,
        lifetime=timedelta(hours=settings.oidc_session_hours),
        scopes_by_group=parse_group_scopes(settings.oidc_groups),
    )
    return SignIn(
        database,
        clock,
        OidcProvider(settings.oidc_issuer, registration, connection),
        sessions,
        name_claim=settings.oidc_name_claim,
        groups_claim=settings.oidc_groups_claim,
    )
