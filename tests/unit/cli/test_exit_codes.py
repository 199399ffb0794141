"""Every known error has its documented exit code."""

import pytest

from mlplatform import errors as shell
from mlplatform.cli import exit_codes
from mlplatform.cli.exit_codes import exit_code
from mlplatform.demo.errors import DemoFailedError
from monitors import errors as monitors
from pipelines import errors as pipelines
from registry import errors as registry

PROBLEM = monitors.ConfigProblem("alerts.yaml", 1, "rules", "is wrong")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DemoFailedError("x"), 1),
        (shell.ProcessError("x"), 1),
        (shell.ModelUnavailableError("x"), 1),
        (monitors.MetricsError("x"), 1),
        (pipelines.TrainingError("x"), 1),
        (registry.RegistryError("x"), 1),
        (shell.SettingsError("x"), 3),
        (monitors.RulesError([PROBLEM]), 3),
        (pipelines.MissingDataError("x"), 3),
        (pipelines.CorruptDataError("x"), 3),
        (registry.CorruptModelError("x"), 3),
        (shell.NotFoundError("x"), 4),
        (pipelines.UnknownPipelineError("x"), 4),
        (registry.UnknownVersionError("x"), 4),
        (registry.NoChampionError("x"), 4),
        (shell.ConflictError("x"), 5),
        (shell.FencedError("x"), 5),
        (monitors.AlertError("x"), 5),
        (shell.StoreUnavailableError("x"), 6),
        (registry.RegistryUnavailableError("x"), 6),
    ],
)
def test_a_known_error_has_its_code(error: Exception, code: int) -> None:
    assert exit_code(error) == code


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), OSError("x"), RuntimeError("x")])
def test_an_error_nobody_expected_keeps_its_traceback(error: Exception) -> None:
    assert exit_code(error) is None


def test_the_codes_are_those_of_the_table() -> None:
    documented = {int(line.split("|")[1]) for line in (exit_codes.__doc__ or "").splitlines() if line[2:3].isdigit()}
    assert documented == {
        0,
        2,
        exit_codes.EXIT_FAILED,
        exit_codes.EXIT_INVALID,
        exit_codes.EXIT_NOT_FOUND,
        exit_codes.EXIT_REFUSED,
        exit_codes.EXIT_UNAVAILABLE,
        exit_codes.EXIT_BREACH,
    }
