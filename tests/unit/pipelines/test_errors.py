"""The errors of the pipelines room."""

from __future__ import annotations

import pytest

from pipelines import errors


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.DataError, ValueError),
        (errors.MissingDataError, FileNotFoundError),
        (errors.CorruptDataError, ValueError),
        (errors.UnknownPipelineError, LookupError),
        (errors.TrainingError, RuntimeError),
        (errors.TrainingStopped, errors.TrainingError),
        (errors.ModelFormatError, ValueError),
        (errors.ModelUnreadableError, ConnectionError),
    ],
)
def test_each_error_is_a_pipeline_error_and_the_fitting_builtin(
    error: type[Exception], builtin: type[Exception]
) -> None:
    assert issubclass(error, errors.PipelineError)
    assert issubclass(error, builtin)


def test_the_tree_in_the_docstring_names_every_error() -> None:
    named = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert all(name in str(errors.__doc__) for name in named)
    assert len(named) == 10
