"""The errors of the API client.

ClientError
├── ApiError                          the server answered with an error; `status`, `kind` and `detail` say which
│   ├── RefusedError (ValueError)     the request itself is wrong: sent again it fails again (4xx)
│   └── UnavailableError (ConnectionError)  no answer now, and retries did not help: 429, 5xx, or `status` 0 where
│                                     the server was not reached in time
└── UnreadableError (ValueError)      the answer is not what the API promises: is the address right?
"""


class ClientError(Exception): ...


class ApiError(ClientError):
    """An answer that is an error. `kind` is the end of the problem's type, such as `not-found`."""

    def __init__(self, status: int, kind: str, detail: str) -> None:
        super().__init__(f"{detail} (HTTP {status})" if status else detail)
        self.status, self.kind, self.detail = status, kind, detail


class ApiRequestError(ApiError, ValueError): ...


class UnavailableError(ApiError, ConnectionError): ...


class InvalidResponseError(ClientError, ValueError): ...


class MissingPandasError(ClientError, ImportError):
    """A frame was asked for where pandas is not installed."""
