"""Which scope a request needs, by method and path; whatever is not named here needs an admin. It checks no key."""

from typing import Final

from mlplatform.auth.api_key import SCOPES

PUBLIC_PATHS: Final = frozenset({"/healthz", "/readyz", "/health", "/ping", "/v2/health/live", "/v2/health/ready"})
"""What load balancers and orchestrators ask, who carry no key."""
_READ, _WRITE = frozenset({"GET", "HEAD"}), frozenset({"POST"})
_ANY: Final = frozenset(SCOPES)
AUDIT_SCOPES: Final = frozenset({"audit"})
"""Who may see how the server does."""
SCOPE_RULES: Final[tuple[tuple[str, frozenset[str], frozenset[str]], ...]] = (
    ("/v1/predict", _WRITE, frozenset({"predict"})),
    ("/v1/explain", _WRITE, frozenset({"predict", "audit"})),
    ("/v1/predictions", _READ, frozenset({"predict", "feedback", "audit"})),
    ("/v1/feedback", _WRITE, frozenset({"feedback"})),
    ("/v1/audit", _READ, AUDIT_SCOPES),
    ("/v1/models", _READ, AUDIT_SCOPES),
    ("/v1/retrainings", _READ, AUDIT_SCOPES),
    ("/v1/evaluations", _READ, AUDIT_SCOPES),
    ("/v2", _READ | _WRITE, frozenset({"predict"})),
    ("/invocations", _WRITE, frozenset({"predict"})),
    ("/version", _READ, frozenset({"predict"})),
    ("/metrics", _READ, AUDIT_SCOPES),
    ("/alerts", _READ, AUDIT_SCOPES),
    ("/docs", _READ, _ANY),
    ("/redoc", _READ, _ANY),
    ("/openapi.json", _READ, _ANY),
    ("/static-offline-docs", _READ, _ANY),
)
MUTATING_GETS: Final = frozenset({"/v1/audit/next"})
"""What is asked with GET and changes something all the same: answers are held for whoever asks."""
_ADMIN: Final = frozenset({"admin"})


def required_scopes(method: str, path: str) -> frozenset[str]:
    """The scopes of which one is enough; none for what is open to everybody."""
    if path in PUBLIC_PATHS and method in _READ:
        return frozenset()
    if path == "/" and method in _READ:
        return AUDIT_SCOPES
    for prefix, methods, scopes in SCOPE_RULES:
        if method in methods and (path == prefix or path.startswith(f"{prefix}/")):
            return scopes
    return _ADMIN
