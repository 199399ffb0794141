"""Makes HTTP clients (httpx) whose every connection obeys an egress policy and the deadline of the work it is for.

httpx sends through an httpcore connection pool, and the pool connects through `EgressBackend`: redirects, proxies and
further addresses of a name are checked there too. The client itself sees host names, so TLS verifies these.
"""

import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from mlplatform.network.connections import connect_to_permitted
from mlplatform.network.deadline import register_socket
from mlplatform.network.egress import ANY_ADDRESS, EgressDeniedError, EgressPolicy
from mlplatform.network.proxies import is_local_url


class EgressBackend(httpcore.NetworkBackend):
    """Connects where the policy allows, and registers each connection with the deadline of its thread."""

    def __init__(self, policy: EgressPolicy) -> None:
        self._policy, self._sockets = policy, httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A stream to a checked address; raises EgressDeniedError, or httpcore's errors of connections."""

        def dial(address: str, seconds: float | None) -> httpcore.NetworkStream:
            return self._sockets.connect_tcp(address, port, seconds, local_address, socket_options)

        try:
            stream = connect_to_permitted(host, port, timeout, self._policy, dial)
        except EgressDeniedError:
            raise
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        try:
            register_socket(stream.get_extra_info("socket"))
        except TimeoutError as error:
            stream.close()
            raise httpcore.ConnectTimeout(str(error)) from error
        return stream


class _ResponseStream(httpx.SyncByteStream):
    """A response's body, with httpx's errors instead of httpcore's."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - httpcore types it as either of two
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _httpx_errors():
            yield from self._stream

    def close(self) -> None:
        self._stream.close()


class PoolTransport(httpx.BaseTransport):
    """Sends httpx's requests through a pool of httpcore's; httpx lets nobody choose the backend of its own one."""

    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; its response's body is read by whoever asked."""
        url = request.url
        with _httpx_errors():
            response = self._pool.handle_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_ResponseStream(response.stream),
            extensions=response.extensions,
        )

    def close(self) -> None:
        """Close the pool's connections."""
        self._pool.close()


def create_egress_client(timeout_seconds: float, policy: EgressPolicy, proxy: str = "") -> httpx.Client:
    """A client that connects where the policy allows, directly or through an HTTP proxy.

    No variable of the environment names a proxy for it, no redirect is followed, and no connection is kept: one that is
    kept would belong to no work, and could not be cut with the one that waits for it.
    """
    trust = httpx.create_ssl_context()  # with what SSL_CERT_FILE names
    return httpx.Client(
        timeout=timeout_seconds, trust_env=False, transport=PoolTransport(_create_pool(policy, trust, proxy))
    )


def create_http_client(url: str, timeout_seconds: float) -> httpx.Client:
    """A client for one of the platform's own servers: through the environment's proxy only if it is another machine."""
    return create_egress_client(timeout_seconds, ANY_ADDRESS, environment_proxy(url))


def environment_proxy(url: str) -> str:
    """The proxy that the environment names for an address; empty for none, and for this machine's own servers."""
    parts = urlsplit(url)
    if is_local_url(url) or proxy_bypass(parts.hostname or ""):
        return ""
    variables = getproxies()
    proxy = variables.get(parts.scheme) or variables.get("all") or ""
    return proxy if "://" in proxy or not proxy else f"http://{proxy}"


def _create_pool(policy: EgressPolicy, trust: ssl.SSLContext, proxy: str) -> httpcore.ConnectionPool:
    parsed = httpx.Proxy(proxy) if proxy else None
    return httpcore.ConnectionPool(
        trust,
        httpcore.Proxy(str(parsed.url), parsed.raw_auth, parsed.headers.raw) if parsed else None,
        max_connections=None,
        max_keepalive_connections=0,
        network_backend=EgressBackend(policy),
    )


@contextmanager
def _httpx_errors() -> Iterator[None]:
    """Raise httpcore's errors as those of httpx, which have the same names."""
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        httpcore.UnsupportedProtocol,
    ) as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error
