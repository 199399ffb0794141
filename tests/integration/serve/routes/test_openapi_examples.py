"""Every endpoint of the document has an example, each fits its schema, and what is to be sent is taken."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from mlplatform.context import AppContext
from mlplatform.serve.api_server import ApiServer, build_server
from mlplatform.serve.app import create_app
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from tests.support.api_server import running


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("home")
    database = Database(f"sqlite:///{home / 'unused.db'}")
    context = AppContext(Settings(_env_file=None, home=home), database=database)
    return create_app(build_server(context)).openapi()


def test_every_response_has_an_example_that_fits_its_schema(document: dict[str, Any]) -> None:
    checked = set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            [(status, response)] = [item for item in operation["responses"].items() if item[0].startswith("2")]
            if status == "204":
                assert "content" not in response
                continue
            media_types = {name: content for name, content in response["content"].items() if "example" in content}
            assert len(media_types) == 1, (method, path)
            for content in media_types.values():
                _fits(document, content)
            checked.add((method, path))
    assert len(checked) == len(_operations(document)) - 1


def test_every_json_body_has_an_example_that_fits_its_schema(document: dict[str, Any]) -> None:
    taken = [content for operation in _operations(document) if (content := _json_body(operation)) is not None]
    assert len(taken) == 13
    for content in taken:
        _fits(document, content)


def _operations(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [operation for operations in document["paths"].values() for operation in operations.values()]


def _json_body(operation: Mapping[str, Any]) -> dict[str, Any] | None:
    content: dict[str, Any] | None = operation.get("requestBody", {}).get("content", {}).get("application/json")
    return content


def _fits(document: dict[str, Any], content: dict[str, Any]) -> None:
    resource = DRAFT202012.create_resource(document)
    schema = _absolute(content["schema"])
    validator = Draft202012Validator(schema, registry=Registry().with_resource("urn:api", resource))
    validator.validate(content["example"])


def _absolute(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {key: f"urn:api{item}" if key == "$ref" else _absolute(item) for key, item in value.items()}
    return [_absolute(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("path", ["/v1/predict", "/v2/models/{name}/infer", "/invocations", "/v1/retrain"])
def test_what_an_example_sends_is_taken_and_answered_with_the_same_fields(
    server: ApiServer, document: dict[str, Any], path: str
) -> None:
    operation = document["paths"][path]["post"]
    body = _json_body(operation)
    assert body is not None
    with running(server) as client:
        answer: httpx.Response = client.post(path.format(name="digits"), json=body["example"])
    assert answer.is_success, answer.text
    example = operation["responses"][str(answer.status_code)]["content"]["application/json"]["example"]
    assert set(answer.json()) == set(example)
