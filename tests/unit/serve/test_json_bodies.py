"""JSON bodies that change something are read within bounds: time and memory follow the body's length."""

import asyncio
import tracemalloc
from collections.abc import Iterator

import pytest
from starlette.requests import Request

from mlplatform.errors import InvalidInputError, TooLargeError
from mlplatform.feedback.label_schema import FeedbackIn
from mlplatform.serve.inference.request_fields import SMALL_BODY_BYTES
from mlplatform.serve.routes.request_body import JsonBody, PixelRows, struct_for
from mlplatform.serve.schemas import ExplainIn, FeedbackBody, FeedbackMany, RetrainIn
from mlplatform.serve.thread_pool import ThreadPool

LABEL = b'{"prediction_id":"p","label":"4"}'


class Counted(ThreadPool):
    """Counts what is done on its threads."""

    def __init__(self) -> None:
        super().__init__(1)
        self.runs = 0

    async def run(self, work, *args, **kwargs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN003, ANN201
        self.runs += 1
        return await super().run(work, *args, **kwargs)


@pytest.fixture
def pool() -> Iterator[Counted]:
    made = Counted()
    yield made
    made.close()


@pytest.fixture
def labels(pool: ThreadPool) -> JsonBody[FeedbackIn | FeedbackMany]:
    many = list[struct_for(FeedbackIn, strict=True)]  # type: ignore[misc, valid-type]
    return JsonBody(pool, FeedbackBody, struct_for(FeedbackIn, feedback=many))


def asked(body: bytes, kind: str = "application/json") -> Request:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body}

    return Request({"type": "http", "headers": [(b"content-type", kind.encode())]}, receive)


def test_one_label_and_many_are_read_as_their_models_say(labels: JsonBody[FeedbackIn | FeedbackMany]) -> None:
    one = labels.parse(LABEL)
    many = labels.parse(b'{"feedback":[%b,%b]}' % (LABEL, LABEL))
    assert isinstance(one, FeedbackIn)
    assert isinstance(many, FeedbackMany)
    assert many.feedback == [one, one]
    assert (one.source, one.at) == ("correction", None)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"{}", "label: Field required"),
        (b'{"prediction_id":"p","label":4}', "label: Input should be a valid string"),
        (b'{"prediction_id":"p","label":"4","colour":1}', "unknown field `colour`"),
        (b'{"feedback":[{}]}', "missing required field `label` - at `$.feedback[0]`"),
        (b'{"feedback":[' + LABEL + b"]," + LABEL[1:-1] + b"}", "Extra inputs"),
        (b'{"feedback":{}}', "Expected `array`, got `object`"),
        (b'{"prediction_id":[1],"label":"4"}', "got `array` - at `$.prediction_id`"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_place(
    labels: JsonBody[FeedbackIn | FeedbackMany], body: bytes, words: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        labels.parse(body)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b'{"feedback":[' + b",".join([b"{%b}" % b",".join(b'"k%d":1' % n for n in range(900))] * 999) + b"]}",
        b'{"feedback":[' + b"{}," * 2_600_000 + b"{}]}",
        b"{" + b",".join(b'"k%d":1' % n for n in range(600_000)) + b"}",
        b'{"prediction_id":' + b"[[1]]," * 1_300_000 + b"}",
        b'{"' + b"k" * 8_000_000 + b'":1}',
        b'{"feedback":[' + b",".join([LABEL] * 240_000) + b"]}",
        b'{"label":"' + b"x" * 8_000_000 + b'","prediction_id":"p"}',
        b"[" * 8_000_000,
        b'{"feedback":[' + b",".join([b'{"prediction_id":"p","label":5,"source":5,"reviewer":5}'] * 999) + b"]}",
    ],
    ids=["keys", "objects", "keys above", "lists", "key", "good labels", "text", "brackets", "errors"],
)
def test_a_body_of_eight_megabytes_takes_little_more_memory_than_it_has(
    labels: JsonBody[FeedbackIn | FeedbackMany], body: bytes
) -> None:
    tracemalloc.start()
    with pytest.raises((InvalidInputError, TooLargeError)) as caught:
        labels.parse(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(str(caught.value)) < 1500
    assert peak < 2 * len(body) + 4 * 2**20


def test_very_many_good_labels_are_refused_by_their_number(labels: JsonBody[FeedbackIn | FeedbackMany]) -> None:
    assert isinstance(labels.parse(b'{"feedback":[' + b",".join([LABEL] * 1000) + b"]}"), FeedbackMany)
    with pytest.raises(InvalidInputError, match="at most 1000"):
        labels.parse(b'{"feedback":[' + b",".join([LABEL] * 1001) + b"]}")


def test_a_picture_to_explain_may_be_rows_or_text(pool: ThreadPool) -> None:
    body = JsonBody[ExplainIn](pool, ExplainIn, struct_for(ExplainIn, image=PixelRows))
    assert body.parse(b'{"image":[[0,1.5],[2,3]]}').image == [[0, 1.5], [2, 3]]
    assert body.parse(b'{"image":"aVZC","label":null}').image == "aVZC"
    for wrong in (b'{"image":[[[1]]]}', b'{"image":[["1"]]}', b'{"image":{}}', b'{"image":[[true]]}'):
        with pytest.raises(InvalidInputError, match="image"):
            body.parse(wrong)


def test_large_bodies_are_read_on_threads_and_small_ones_at_once(pool: Counted) -> None:
    body = JsonBody[RetrainIn](pool, RetrainIn)
    assert asyncio.run(body(asked(b'{"reason":"x"}'))).reason == "x"
    assert pool.runs == 0
    assert asyncio.run(body(asked(b'{"reason":"x"}' + b" " * SMALL_BODY_BYTES))).reason == "x"
    assert pool.runs == 1


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=undefined", "application/ld+json", ""])
def test_json_is_taken_as_utf_8_whatever_its_charset_says(pool: ThreadPool, kind: str) -> None:
    assert asyncio.run(JsonBody[RetrainIn](pool, RetrainIn)(asked('{"reason":"ü"}'.encode(), kind))).reason == "ü"


def test_another_content_type_is_refused_with_what_is_taken(pool: ThreadPool) -> None:
    with pytest.raises(InvalidInputError, match="'text/plain' is not understood; send application/json"):
        asyncio.run(JsonBody[RetrainIn](pool, RetrainIn)(asked(b"{}", "text/plain")))


def test_openapi_says_what_a_body_holds(labels: JsonBody[FeedbackIn | FeedbackMany]) -> None:
    schema = labels.openapi["requestBody"]["content"]["application/json"]["schema"]
    one, many = schema["oneOf"]
    assert one["required"] == ["label"]
    assert many["properties"]["feedback"]["items"] == one
