"""The errors that the registry raises.

RegistryError
├── RegistryUnavailableError (ConnectionError)   the database, server or artifact store did not answer
├── UnknownVersionError (LookupError)            no such version of that model
├── UnknownRunError (LookupError)               the run was deleted for good
├── NoChampionError (LookupError)                nothing carries the champion alias yet
├── CorruptModelError (ValueError)               the downloaded file is not the one that was registered
├── ContractError (ValueError)                   a model's contract that cannot be read, or is not known here
├── CardError (ValueError)                       a model card that would say nothing
└── GateError (ValueError)                       evidence or policy that cannot be judged
"""


class RegistryError(Exception):
    """Any failure of the registry room."""


class RegistryUnavailableError(RegistryError, ConnectionError):
    """The tracking database, server or artifact store did not answer."""


class UnknownVersionError(RegistryError, LookupError):
    """The asked version of a model is not registered."""


class UnknownRunError(RegistryError, LookupError):
    """The asked run is not in the store, or was deleted from it for good."""


class NoChampionError(RegistryError, LookupError):
    """No version of the model carries the champion alias."""


class CorruptModelError(RegistryError, ValueError):
    """A downloaded model file differs from the one that was registered."""


class ContractError(RegistryError, ValueError):
    """A model's contract that cannot be read, or means something that is not known here."""


class CardError(RegistryError, ValueError):
    """A model card with an empty section."""


class GateError(RegistryError, ValueError):
    """Evidence or a policy that the gate cannot judge."""
