"""The registry's error tree."""

import pytest

from registry import errors


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.RegistryUnavailableError, ConnectionError),
        (errors.UnknownVersionError, LookupError),
        (errors.NoChampionError, LookupError),
        (errors.CorruptModelError, ValueError),
        (errors.CardError, ValueError),
        (errors.GateError, ValueError),
    ],
)
def test_each_error_is_a_registry_error_and_the_fitting_builtin(
    error: type[errors.RegistryError], builtin: type[Exception]
) -> None:
    assert issubclass(error, errors.RegistryError)
    assert issubclass(error, builtin)
    assert error.__name__ in (errors.__doc__ or "")
