"""An API server that asks for keys, and the keys to it."""

import base64
from datetime import timedelta

from mlplatform.context import AppContext
from mlplatform.operations.operator_actions import create_key
from mlplatform.serve.api_server import ApiServer, build_server
from tests.support.api_server import loaded


def guarded(lite: AppContext, **terms: object) -> ApiServer:
    settings = lite.settings.model_copy(update={"auth": "on", **terms})
    made = lite.replace(settings=settings)
    server = build_server(made)
    server.model_slot.swap(loaded(1))
    return server


def key(server: ApiServer, *scopes: str, name: str = "ada", lives: timedelta | None = None) -> str:
    return create_key(server.context, name, scopes, lives, "cli")[0]


def shown(text: str, kind: str = "bearer") -> dict[str, str]:
    if kind == "x-api-key":
        return {"x-api-key": text}
    if kind == "basic":
        return {"authorization": f"Basic {base64.b64encode(f'anyone:{text}'.encode()).decode()}"}
    return {"authorization": f"Bearer {text}"}
