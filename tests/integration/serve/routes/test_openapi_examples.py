"""Every endpoint of the document has an example, each fits its schema, and what is to be sent is taken."""

from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from mlplatform.serve.routes.openapi_examples import EXAMPLES
from mlplatform.serve.state import ApiServer
from tests.support.api_server import running


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from mlplatform.context import AppContext
    from mlplatform.serve.app import create_app
    from mlplatform.serve.state import build_server
    from mlplatform.settings import Settings
    from mlplatform.store.database import Database

    home = tmp_path_factory.mktemp("home")
    database = Database(f"sqlite:///{home / 'unused.db'}")
    context = AppContext(Settings(_env_file=None, home=home), database=database)
    return create_app(build_server(context)).openapi()


def test_every_endpoint_has_an_example_and_no_example_is_left_over(document: dict[str, Any]) -> None:
    described = {(method, path) for path, operations in document["paths"].items() for method in operations}
    assert set(EXAMPLES) == described


@pytest.mark.parametrize(("method", "path"), EXAMPLES)
def test_an_example_stands_in_the_document_and_fits_its_schema(
    document: dict[str, Any], method: str, path: str
) -> None:
    example, operation = EXAMPLES[method, path], document["paths"][path][method]
    [status] = [each for each in operation["responses"] if each.startswith("2")]
    if example.response is None:
        assert "content" not in operation["responses"][status]
    else:
        _fits(document, operation["responses"][status]["content"][example.media_type])
    taken = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if taken is not None:
        _fits(document, taken)


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
def test_what_an_example_sends_is_taken_and_answered_with_the_same_fields(server: ApiServer, path: str) -> None:
    example = EXAMPLES["post", path]
    with running(server) as client:
        answer: httpx.Response = client.post(path.format(name="digits"), json=example.request)
    assert answer.is_success, answer.text
    assert set(answer.json()) == set(example.response)
