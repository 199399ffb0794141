"""Everything the application raises by itself; each message names the value and what to do."""


class ChequesError(Exception):
    """The root of the errors of this package."""


class UploadError(ChequesError, ValueError):
    """What was uploaded cannot be read as a picture."""


class UploadTooLargeError(UploadError):
    """What was uploaded is larger than is taken."""


class CodeLineError(ChequesError, ValueError):
    """A code line is not of the form, or its check digits are wrong."""


class AmountError(ChequesError, ValueError):
    """An amount is not written as one."""


class AccountsError(ChequesError, ValueError):
    """A file of accounts, or an account, cannot be taken."""


class ConflictError(ChequesError):
    """Somebody else was faster, or a thing is no longer in the state that was asked about."""


class UnknownChequeError(ChequesError, LookupError):
    """No cheque has this id."""


class ReaderUnavailableError(ChequesError):
    """The platform's API gives no answer, so nothing was read and nothing was kept."""


class BusyError(ChequesError):
    """As many pictures as may be are being read at once."""
