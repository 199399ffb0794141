"""The recipe of a training."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.errors import TrainingError
from pipelines.recipe import Augmentation, NetworkRecipe


def test_params_are_flat_and_name_every_choice(tiny: NetworkRecipe) -> None:
    params = tiny.as_params()
    assert params["recipe"] == "tiny"
    assert (params["channels_1"], params["channels_2"]) == (4, 8)
    assert params["augmentation_rotation"] == 5.0
    assert params["max_train_rows"] == "all"
    assert all(isinstance(value, str | int | float) for value in params.values())


def test_recipes_that_differ_in_one_choice_differ_in_one_param(tiny: NetworkRecipe) -> None:
    params, other = tiny.as_params(), replace(tiny, max_train_rows=10).as_params()
    assert {key for key in params if params[key] != other[key]} == {"max_train_rows"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("channels", (0, 4)),
        ("dropout", 1.0),
        ("learning_rate", 0.0),
        ("weight_decay", -1.0),
        ("plateau_patience", -1),
        ("feedback_share", 1.0),
        ("max_train_rows", 0),
        ("threads", 0),
        ("channels", ()),
        ("body", "fat"),
        ("schedule", "never"),
        ("precision", "float16"),
        ("averaging", 1.0),
        ("calm", 1.1),
        ("label_smoothing", -0.1),
    ],
)
def test_a_choice_that_cannot_work_is_refused_by_name(tiny: NetworkRecipe, field: str, value: object) -> None:
    with pytest.raises(TrainingError, match=f"recipe 'tiny': {field} is"):
        replace(tiny, **{field: value})  # type: ignore[arg-type]


def test_a_negative_augmentation_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"augmentation zoom is -0\.1"):
        Augmentation(zoom=-0.1)


def test_an_augmentation_that_takes_all_contrast_is_refused() -> None:
    with pytest.raises(TrainingError, match="contrast is 1"):
        Augmentation(contrast=1.0)


@pytest.mark.parametrize(("field", "value"), [("stroke", 1.5), ("zoom", 0.5), ("stretch", 0.6)])
def test_an_augmentation_that_leaves_no_letter_is_refused(field: str, value: float) -> None:
    with pytest.raises(TrainingError, match=f"{field}.* {value}"):
        Augmentation(**{field: value})


def test_images_move_less_in_the_last_epochs_of_a_calm_recipe(tiny: NetworkRecipe) -> None:
    calm = replace(tiny, epochs=8, calm=0.25)
    assert [calm.augmentation_at(epoch) == tiny.augmentation for epoch in range(1, 9)] == [True] * 6 + [False] * 2
    assert calm.augmentation_at(8).rotation == pytest.approx(5.0 / 3)
    assert all(tiny.augmentation_at(epoch) == tiny.augmentation for epoch in range(1, 4))
