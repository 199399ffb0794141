"""Scopes by name, each for every model or for one."""

import pytest

from mlplatform.errors import InvalidInputError
from mlplatform.scopes import granted_models, validate_scopes


def test_scopes_are_put_in_order_each_once() -> None:
    assert validate_scopes(["audit", "predict:b", "predict", "predict:a", "audit"]) == (
        "predict",
        "predict:a",
        "predict:b",
        "audit",
    )


@pytest.mark.parametrize(
    ("scopes", "said"),
    [
        ([], "predict, feedback, audit, review, retrain, operate, admin"),
        (["write"], "scope 'write' is not known; give one or more of predict"),
        (["predict", "write:digits"], "scope 'write' is not known"),
        (["predict:"], "'predict:' names no model behind its colon"),
        (["predict:a:b"], "names no model"),
        (["predict:../x"], "names no model"),
        (["predict:digits\n"], "names no model"),
        ([":digits"], "scope '' is not known"),
        (["Predict"], "scope 'Predict' is not known"),
    ],
)
def test_a_scope_that_cannot_be_is_refused_with_what_can(scopes: list[str], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        validate_scopes(scopes)


@pytest.mark.parametrize(
    ("scopes", "models"),
    [
        (("predict",), None),
        (("predict:digits",), {"digits"}),
        (("predict:digits", "feedback:churn"), {"digits", "churn"}),
        (("predict:digits", "audit:churn"), {"digits"}),
        (("predict:digits", "feedback"), None),
        (("admin",), None),
        (("admin:churn",), {"churn"}),
        (("audit",), set()),
        (("predict:",), set()),
        (("admin:",), set()),
        ((), set()),
    ],
)
def test_a_scope_opens_its_model_and_without_one_every_model(scopes: tuple[str, ...], models: set[str] | None) -> None:
    assert granted_models(scopes, {"predict", "feedback"}) == models
