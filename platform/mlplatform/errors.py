"""What can go wrong in the shell, and nothing about how it is shown.

PlatformError
├── SettingsError (ValueError)          a setting or flag has a value that cannot work
├── NotFoundError (LookupError)         an id, version or name is unknown
├── ConflictError (RuntimeError)        the state moved on: compare-and-set failed, or the thing exists
├── StoreUnavailableError (ConnectionError)  the database cannot be reached or is busy
├── RecordingError (ConnectionError)    an answer cannot be recorded, so it is not given
├── BusyError (ConnectionError)         too many requests of a kind are under way
├── ModelUnavailableError (RuntimeError)     no model is loaded to answer with
├── InvalidInputError (ValueError)      a request is well formed and still wrong
├── ForbiddenError (PermissionError)    the caller's scopes leave out what the request is about
├── TooLargeError (ValueError)          a request is over a stated limit
├── FencedError (RuntimeError)          a lease was lost: this process must not write
├── ProcessError (RuntimeError)         a child process ended or never became healthy
└── DeliveryError (RuntimeError)        a receiver did not take a message; its text holds no secret
"""


class PlatformError(Exception): ...


class SettingsError(PlatformError, ValueError): ...


class NotFoundError(PlatformError, LookupError): ...


class ConflictError(PlatformError, RuntimeError): ...


class StoreUnavailableError(PlatformError, ConnectionError): ...


class RecordingError(PlatformError, ConnectionError): ...


class BusyError(PlatformError, ConnectionError): ...


class ModelUnavailableError(PlatformError, RuntimeError): ...


class InvalidInputError(PlatformError, ValueError): ...


class ForbiddenError(PlatformError, PermissionError): ...


class TooLargeError(PlatformError, ValueError): ...


class FencedError(PlatformError, RuntimeError): ...


class ProcessError(PlatformError, RuntimeError): ...


class DeliveryError(PlatformError, RuntimeError): ...
