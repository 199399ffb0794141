"""Reads the forms of pages within bounds, a few short texts by their names, and refuses those of other pages."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from anyio import to_thread
from fastapi import Request

from mlplatform.auth.caller import caller_of
from mlplatform.auth.form_tokens import FormTokens
from mlplatform.errors import InvalidInputError
from mlplatform.operations.operator_actions import check_note
from mlplatform.serve.middleware.fast_route import read_body

SIGNATURE_FIELD: Final = "form_token"
MAX_TEXT_LENGTH: Final = 2_000
MAX_BODY_BYTES: Final = 16_384
"""A note of 2,000 letters, each written as a percent code of three bytes or more."""


class FormBody:
    """A dependency of routes: the texts of a form by their names.

    Raises InvalidInputError, and FormRefusedError for a form without the token that its page gave to this caller.
    """

    def __init__(
        self,
        tokens: FormTokens,
        required: tuple[str, ...] = (),
        optional: tuple[str, ...] = (),
        max_length: int = MAX_TEXT_LENGTH,
    ) -> None:
        self._tokens, self._required, self._known = tokens, required, (*required, *optional)
        self._max_length, self._max_bytes = max_length, MAX_BODY_BYTES * max_length // MAX_TEXT_LENGTH

    async def __call__(self, request: Request) -> Mapping[str, str]:
        """Read it whole; a text that may be left out is "" then."""
        texts = await self._read(request)
        if not self._tokens.is_ready:
            await to_thread.run_sync(self._tokens.load)
        self._tokens.check(caller_of(request), texts.pop(SIGNATURE_FIELD, ""))
        return self._checked(texts)

    async def _read(self, request: Request) -> dict[str, str]:
        body = await read_body(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if body and kind != "application/x-www-form-urlencoded":
            raise InvalidInputError(f"content type {kind[:40]!r} is not that of a form; send it from its page")
        if len(body) > self._max_bytes:
            raise InvalidInputError(f"the form has {len(body)} bytes; at most {self._max_bytes}")
        try:
            pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20)
        except ValueError as error:
            raise InvalidInputError(f"the form cannot be read ({str(error)[:80]}); send it from its page") from error
        return dict(pairs)

    def _checked(self, sent: Mapping[str, str]) -> Mapping[str, str]:
        texts = dict.fromkeys(self._known, "")
        for name, text in sent.items():
            if name not in texts:
                raise InvalidInputError(f"unknown field {name[:40]!r}; the form has {', '.join(self._known)}")
            if len(text) > self._max_length or "\0" in text:
                raise InvalidInputError(
                    f"{name} has {len(text)} characters; give at most {self._max_length}, none of them NUL"
                )
            texts[name] = text
        if missing := [name for name in self._required if not texts[name]]:
            raise InvalidInputError(f"no {missing[0]} was given; fill it in")
        return texts


def form_actor(request: Request) -> str:
    """Whom the audit log names for a form: the key's holder."""
    return caller_of(request).name or "dashboard"


def required_reason(form: Mapping[str, str]) -> str:
    """Why, on one line; raises InvalidInputError where nothing is said."""
    reason = check_note(form["reason"])
    if not reason:
        raise InvalidInputError("no reason was given; others will ask for it")
    return reason


def check_confirmed(form: Mapping[str, str]) -> None:
    """Raise InvalidInputError for a form whose box was not ticked."""
    if form["confirm"] != "yes":
        raise InvalidInputError("it was not confirmed; tick the box, which says what will happen")
