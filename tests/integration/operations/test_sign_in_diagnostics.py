"""`platform doctor` says whether people can sign in."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from mlplatform.context import AppContext
from mlplatform.operations.doctor.sign_in_diagnostics import check_sign_in
from tests.support.oidc_provider import CLIENT_ID, SECRET, local_provider


def found(context: AppContext, **changes: object) -> list[tuple[str, str]]:
    settings = {
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": SecretStr(SECRET),
        "oidc_groups": "ml-team=audit",
        "public_url": "https://ml.example.org/",
    } | changes
    return list(check_sign_in(context.replace(settings=context.settings.model_copy(update=settings))))


def test_nothing_is_said_where_nobody_is_to_sign_in(context: AppContext) -> None:
    assert list(check_sign_in(context)) == []


def test_a_provider_that_answers_is_fine_and_told_the_redirect_address(context: AppContext) -> None:
    with local_provider() as provider:
        [(mark, said)] = found(context, oidc_issuer=provider.issuer)
        assert mark == "ok"
        assert said.endswith("redirect address https://ml.example.org/sign-in/callback")
        marks = [mark for mark, _ in found(context, oidc_issuer=provider.issuer, public_url="http://ml.example.org")]
        assert marks == ["problem", "ok"]


@pytest.mark.parametrize("status", [404, 500])
def test_a_provider_that_cannot_be_asked_is_a_problem_named(context: AppContext, status: int) -> None:
    with local_provider() as provider:
        provider.status = status
        [(mark, said)] = found(context, oidc_issuer=provider.issuer)
    assert mark == "problem"
    assert f"with status {status}" in said
    assert SECRET not in said


def test_a_secret_that_cannot_be_read_is_a_problem(context: AppContext, tmp_path: Path) -> None:
    [(mark, said)] = found(context, oidc_issuer="https://id.example.org", oidc_client_secret_file=tmp_path / "none")
    assert mark == "problem"
    assert "PLATFORM_OIDC_CLIENT_SECRET_FILE" in said
