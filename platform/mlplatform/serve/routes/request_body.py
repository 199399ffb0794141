"""Reads request bodies within bounds: whole bytes, or JSON validated into a pydantic model.

A JSON body is first held against the shape of what is asked for, while it is parsed: the first unknown key and the
first value of another type end it, so neither time nor memory grows beyond the body's own. What passes is validated by
the body's model. Larger bodies are read on threads, as many at a time as there are.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec
from fastapi import Request
from msgspec import UNSET, Struct, UnsetType
from pydantic import BaseModel, TypeAdapter, ValidationError

from mlplatform.errors import InvalidInputError
from mlplatform.serve.inference.request_fields import SMALL_BODY_BYTES, check_amounts
from mlplatform.serve.middleware.fast_route import read_body
from mlplatform.serve.thread_pool import ThreadPool
from pipelines.edge.request_payloads import JsonLimits

T = TypeVar("T")
Scalar = str | int | float | bool | None
PixelRows = str | list[list[int | float]] | None
MAX_AMOUNTS: Final = JsonLimits(lists=16_000, objects=16_000, values=100_000)
"""What a thousand labels may hold, brackets and commas within their texts counted in."""
MAX_ERRORS: Final = 5
MAX_ERROR_LENGTH: Final = 200


def struct_for(model: type[BaseModel], *, strict: bool = False, **others: Any) -> type[Struct]:  # noqa: ANN401
    """The shape of a model's JSON: each field a single value, but those in `others`, which say their type.

    `strict` asks for the fields without a default at once: of a list's items, so that wrong ones end it.
    """
    fields: list[Any] = []
    for name, field in model.model_fields.items():
        kind = others.pop(name, Scalar)
        fields.append((name, kind) if strict and field.is_required() else (name, kind | UnsetType, UNSET))
    fields += [(name, kind | UnsetType, UNSET) for name, kind in others.items()]
    fields.sort(key=len)  # those without a default come first
    return msgspec.defstruct(model.__name__, fields, forbid_unknown_fields=True, gc=False)


class JsonBody(Generic[T]):
    """A dependency of routes: the request's body as a model; raises InvalidInputError."""

    def __init__(
        self,
        pool: ThreadPool,
        kind: Any,  # noqa: ANN401 - a model, or several of them by a discriminator
        shape: type[Struct] | None = None,
        amounts: Callable[[], JsonLimits] = lambda: MAX_AMOUNTS,
        example: object = None,
    ) -> None:
        """`amounts` says the most that a body may hold; `example` is one for the OpenAPI document."""
        self._pool, self._adapter, self._amounts, self._example = pool, TypeAdapter[T](kind), amounts, example
        self._decoder = msgspec.json.Decoder(struct_for(kind) if shape is None else shape)

    @property
    def openapi(self) -> dict[str, Any]:
        """What OpenAPI says of the body."""
        return json_body_openapi(self._adapter, self._example)

    async def __call__(self, request: Request) -> T:
        """Read it whole and validate it."""
        body = await read_body(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("", "application/json") and not (kind.startswith("application/") and kind.endswith("+json")):
            raise InvalidInputError(f"content type {kind[:40]!r} is not understood; send application/json")
        return self.parse(body) if len(body) <= SMALL_BODY_BYTES else await self._pool.run(self.parse, body)

    def parse(self, body: bytes) -> T:
        """The model that the bytes are."""
        if len(body) > SMALL_BODY_BYTES:
            check_amounts(body, self._amounts(), "send less at once")
        try:
            fields = msgspec.to_builtins(self._decoder.decode(body))
        except msgspec.ValidationError as error:
            raise InvalidInputError(f"the body cannot be used ({_truncate(str(error))})") from error
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInputError(f"the body is not JSON in UTF-8 ({_truncate(str(error))})") from error
        try:
            return self._adapter.validate_python(fields)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_ERRORS]
            parts = [f"{'.'.join(['body', *map(str, fault['loc'])])}: {_truncate(fault['msg'])}" for fault in faults]
            raise InvalidInputError("; ".join(parts)) from error


def json_body_openapi(adapter: TypeAdapter[Any], example: object = None) -> dict[str, Any]:
    """The `requestBody` of an OpenAPI operation whose JSON is this type."""
    schema = adapter.json_schema()
    definitions = schema.pop("$defs", {})
    content = {"schema": _inline_definitions(schema, definitions)} | ({} if example is None else {"example": example})
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def _truncate(text: str) -> str:
    return text if len(text) <= MAX_ERROR_LENGTH else f"{text[:MAX_ERROR_LENGTH]}..."


def _inline_definitions(schema: Any, definitions: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON is any of its types
    """A JSON schema with its definitions where they are used: OpenAPI keeps them elsewhere."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inline_definitions(definitions[schema["$ref"].rpartition("/")[2]], definitions)
        return {key: _inline_definitions(value, definitions) for key, value in schema.items() if key != "discriminator"}
    return [_inline_definitions(item, definitions) for item in schema] if isinstance(schema, list) else schema
