"""Which scopes open which path, and whether a path is about the served model, about any, or about all at once."""

import re
from typing import Final, Literal

from mlplatform.scopes import SCOPES

SIGN_IN_PATH: Final = "/sign-in"
KEY_SIGN_IN_PATH: Final = "/sign-in-with-key"
"""Where a browser is asked for a key; beside the pages, so that it then sends the key for all of them."""
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
PUBLIC_PATHS: Final = frozenset(
    {"/healthz", "/readyz", "/health", "/ping", "/v2/health/live", "/v2/health/ready", "/favicon.ico"}
    | {SIGN_IN_PATH, f"{SIGN_IN_PATH}/start", f"{SIGN_IN_PATH}/callback"}
)
"""What load balancers and orchestrators ask, who carry no key, and those who are about to sign in."""
PUBLIC_PREFIXES: Final = ("/assets/",)
"""The package's own style and script, which the page of a refusal loads as well."""
_READ, _WRITE, _END = frozenset({"GET", "HEAD"}), frozenset({"POST"}), frozenset({"DELETE"})
_ANY: Final = frozenset(SCOPES)
_ADMIN: Final = frozenset({"admin"})
AUDIT_SCOPES: Final = frozenset({"audit"})
"""Who may see how the server does, and who did what."""
OPERATOR_SCOPES: Final = frozenset({"operate"})
"""Who may answer alerts, roll back, and stop what is tried."""
RETRAINING_SCOPES: Final = frozenset({"operate", "retrain"})
"""Who may ask for retrainings and cancel them."""
VIEWER_SCOPES: Final = AUDIT_SCOPES | RETRAINING_SCOPES
"""Who may see how models do: who acts on one must see it."""
REVIEW_SCOPES: Final = frozenset({"review"})
"""Who may label by hand, and need not see what the model answered."""
SCOPE_RULES: Final[tuple[tuple[str, frozenset[str], frozenset[str]], ...]] = (
    ("/v1/predict", _WRITE, frozenset({"predict"})),
    ("/v1/explain", _WRITE, frozenset({"predict", "audit"})),
    ("/v1/predictions", _READ, frozenset({"predict", "feedback"}) | VIEWER_SCOPES),
    ("/v1/feedback", _WRITE, frozenset({"feedback"})),
    ("/v1/review", _WRITE, REVIEW_SCOPES),
    ("/v1/audit", _READ, AUDIT_SCOPES),
    ("/v1/models", _READ, VIEWER_SCOPES),
    ("/v1/models", _END, OPERATOR_SCOPES),
    ("/v1/retrain", _WRITE, RETRAINING_SCOPES),
    ("/v1/retrainings", _READ, VIEWER_SCOPES),
    ("/v1/retrainings", _END, RETRAINING_SCOPES),
    ("/v1/evaluations", _READ, VIEWER_SCOPES),
    ("/v2", _READ | _WRITE, frozenset({"predict"})),
    ("/invocations", _WRITE, frozenset({"predict"})),
    ("/version", _READ, frozenset({"predict"})),
    ("/metrics", _READ, AUDIT_SCOPES),
    ("/alerts", _READ, VIEWER_SCOPES),
    ("/alerts", _WRITE, OPERATOR_SCOPES),
    ("/models", _READ, VIEWER_SCOPES),
    ("/review", _READ, AUDIT_SCOPES | REVIEW_SCOPES),
    ("/review", _WRITE, REVIEW_SCOPES),
    ("/versions", _READ, VIEWER_SCOPES),
    ("/versions/rollback", _WRITE, OPERATOR_SCOPES),
    ("/retrainings", _READ, VIEWER_SCOPES),
    ("/retrainings", _WRITE, RETRAINING_SCOPES),
    ("/rules", _READ | _WRITE, VIEWER_SCOPES),
    ("/audit", _READ, AUDIT_SCOPES),
    ("/keys", _READ, AUDIT_SCOPES),
    ("/account", _READ, _ANY),
    (KEY_SIGN_IN_PATH, _READ, _ANY),
    ("/sign-out", _WRITE, _ANY),
    ("/docs", _READ, _ANY),
    ("/redoc", _READ, _ANY),
    ("/openapi.json", _READ, _ANY),
    ("/static-offline-docs", _READ, _ANY),
)
STOP_TRIAL: Final = re.compile(r"/versions/[^/]+/trial/stop")
API_PREFIXES: Final = ("/v1", "/v2", "/invocations")
"""What programs ask, whose requests carry no form's token."""
MUTATING_GETS: Final = frozenset({"/v1/audit/next"})
"""What is asked with GET and changes something all the same: answers are held for whoever asks."""

Reach = Literal["served", "any", "all"]
ANY_MODEL_PREFIXES: Final = (
    *("/alerts", "/models", "/v1/predictions", "/v1/evaluations"),
    *("/account", KEY_SIGN_IN_PATH, "/sign-out"),
    *("/docs", "/redoc", "/openapi.json", "/static-offline-docs"),
)
ALL_MODELS_PREFIXES: Final = ("/audit", "/keys")


def required_scopes(method: str, path: str) -> frozenset[str]:
    """The scopes of which one is enough; none for what is open to everybody."""
    if method in _READ and (path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIXES)):
        return frozenset()
    if path == "/" and method in _READ:
        return VIEWER_SCOPES
    if method in _WRITE and STOP_TRIAL.fullmatch(path):
        return OPERATOR_SCOPES
    for prefix, methods, scopes in SCOPE_RULES:
        if method in methods and _is_below(path, prefix):
            return scopes
    return _ADMIN


def model_reach(path: str) -> Reach:
    """What a path is about: the served model, any (its route holds what it shows against the caller), or all at once.

    What is named here nowhere is about the served model.
    """
    if path == "/" or any(_is_below(path, prefix) for prefix in ANY_MODEL_PREFIXES):
        return "any"
    return "all" if any(_is_below(path, prefix) for prefix in ALL_MODELS_PREFIXES) else "served"


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


def is_api(path: str) -> bool:
    """Whether a path is asked by programs."""
    return any(_is_below(path, prefix) for prefix in API_PREFIXES)
