"""A small OpenID provider on loopback, which signs ID tokens with a key of its own and forgets each code once used."""

import json
import secrets
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID, SECRET = "mlplatform-test", "s3cret/with:signs"
Claims = dict[str, Any]


def signing_key(key_id: str) -> RSAKey:
    """A new private key under an id."""
    return RSAKey.generate_key(2048, {"kid": key_id, "use": "sig"})


@dataclass
class LocalProvider:
    """What the provider knows and how it behaves; tests change it."""

    issuer: str = ""
    key: RSAKey = field(default_factory=lambda: signing_key("key-1"))
    published: list[RSAKey] = field(default_factory=list)
    claims: Claims = field(default_factory=dict)
    """What ID tokens say besides, or instead."""
    sign: Callable[[Claims], str] | None = None
    """Makes the ID token in place of the provider."""
    refusal: str = ""
    discovery: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    wait_seconds: float = 0.0
    asked: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.published = [self.key]

    def documents(self) -> dict[str, dict[str, Any]]:
        """What is read by GET."""
        return {
            "/.well-known/openid-configuration": {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            }
            | self.discovery,
            "/keys": {"keys": [key.as_dict(private=False) for key in self.published]},
        }

    def authorize(self, query: Mapping[str, str]) -> str:
        """Where a browser that asks to sign in is sent, as if somebody had given their password."""
        back = {"state": query["state"]}
        if self.refusal:
            return f"{query['redirect_uri']}?{urlencode(back | {'error': self.refusal})}"
        code = secrets.token_urlsafe(12)
        self.codes[code] = dict(query)
        return f"{query['redirect_uri']}?{urlencode(back | {'code': code})}"

    def exchange(self, form: Mapping[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """The answer to a code: once, to this client, with the verifier that its challenge was made from."""
        client = b64decode(authorization.removeprefix("Basic ")).decode()
        if [unquote(part) for part in client.split(":", 1)] != [CLIENT_ID, SECRET]:
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(form["code"], None)
        if (
            asked is None
            or asked["code_challenge_method"] != "S256"
            or asked["code_challenge"] != create_s256_code_challenge(form["code_verifier"])
            or asked["redirect_uri"] != form["redirect_uri"]
        ):
            return 400, {"error": "invalid_grant"}
        return 200, {"access_token": "unused", "token_type": "Bearer", "id_token": self.id_token(asked["nonce"])}

    def id_token(self, nonce: str) -> str:
        """A signed token for a sign-in."""
        now = int(time.time())
        claims: Claims = {
            "iss": self.issuer,
            "sub": "subject-1",
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "email": "ann@example.org",
            "email_verified": True,
            "groups": ["ml-team", "everybody"],
        } | self.claims
        claims = {name: value for name, value in claims.items() if value is not None}
        if self.sign is not None:
            return self.sign(claims)
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key)


@contextmanager
def local_provider() -> Iterator[LocalProvider]:
    """A provider that answers on loopback."""
    provider = LocalProvider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            provider.asked.append(parts.path)
            if parts.path == "/authorize":
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self.send_response(303)
                self.send_header("location", provider.authorize(query))
                self.send_header("content-length", "0")
                self.end_headers()
                return
            self._answer(provider.status, provider.documents()[parts.path])

        def do_POST(self) -> None:
            provider.asked.append(self.path)
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self._answer(*provider.exchange(form, self.headers["authorization"] or ""))

        def _answer(self, status: int, document: object) -> None:
            time.sleep(provider.wait_seconds)
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    provider.issuer = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, name="oidc-provider")
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
