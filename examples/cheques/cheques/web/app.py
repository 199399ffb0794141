"""The application's HTTP server: pages for people, and the same answers as JSON for programs that ask for it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Final

from anyio import CapacityLimiter, to_thread
from fastapi import BackgroundTasks, FastAPI, Form, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from sqlalchemy import func, or_, select
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from cheques import audit_chain, audit_verification
from cheques.amount_reading import ReadingClient
from cheques.errors import (
    AmountError,
    BusyError,
    ChequesError,
    CodeLineError,
    ConflictError,
    ReaderUnavailableError,
    UnknownChequeError,
    UploadError,
    UploadTooLargeError,
)
from cheques.label_sending import count_labels, send_labels, waiting_labels
from cheques.processing import MACHINE, ChequeProcessor, Verdict, find_cheque, flat_picture
from cheques.settings import Settings
from cheques.store import Store
from cheques.store import cheques as cheques_table
from cheques.vision.geometry import HEIGHT, WIDTH
from cheques.web.pages import HEADERS, OUTCOMES, digit_marks, render

FORM_BYTES: Final = 64_000
"""What a form may have around the file."""
LISTED: Final = 100
MAX_NAME: Final = 80
THREADS_PER_READING: Final = 4
"""While one decodes, others ask the platform and wait for the database."""
STATUSES: Final[tuple[tuple[type[Exception], int], ...]] = (
    (UploadTooLargeError, 413),
    (UploadError, 422),
    (AmountError, 422),
    (CodeLineError, 422),
    (UnknownChequeError, 404),
    (ConflictError, 409),
    (BusyError, 503),
    (ReaderUnavailableError, 503),
)
_LOG = logging.getLogger("cheques")
Page = HTMLResponse
Answer = Callable[[Request], Awaitable[Response]]


def create_app(settings: Settings, store: Store, client: ReadingClient) -> FastAPI:
    """The server over one database and one platform."""
    processor = ChequeProcessor(settings, store, client)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(send_labels, store, client)  # those that were kept while the platform was away
        yield

    app = FastAPI(title="cheques", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(settings.allowed_hosts))
    app.middleware("http")(_guard(settings))
    _add_error_pages(app)
    _add_pages(app, store)
    _add_actions(app, processor, store, client)
    return app


def _add_pages(app: FastAPI, store: Store) -> None:
    """What is only looked at."""

    @app.get("/", response_class=HTMLResponse)
    def overview(outcome: str = "") -> Page:
        """The newest cheques, how many of each outcome there are, and the form that takes another."""
        query = select(cheques_table).order_by(cheques_table.c.received_at.desc()).limit(LISTED)
        if outcome in OUTCOMES:
            query = query.where(cheques_table.c.outcome == outcome)
        with store.read() as connection:
            rows = [dict(row._mapping) for row in connection.execute(query)]
            tally = select(cheques_table.c.outcome, func.count()).group_by(cheques_table.c.outcome)
            counts = {row[0]: row[1] for row in connection.execute(tally)}
        values = {"rows": rows, "counts": counts, "chosen": outcome, "waiting": waiting_labels(store)}
        values["refused_labels"] = count_labels(store, "refused")
        return Page(render("overview.html", "Cheques", section="", **values))

    @app.get("/review", response_class=HTMLResponse)
    def review_queue() -> Page:
        """Cheques that wait for a person, the oldest first, and decided ones that chance drew."""
        table = cheques_table.c
        drawn = table.is_sampled & ~table.is_checked
        query = select(cheques_table).where(or_(table.outcome == "review", drawn)).order_by(table.received_at)
        with store.read() as connection:
            rows = [dict(row._mapping) for row in connection.execute(query.limit(LISTED))]
            count = connection.scalar(select(func.count()).select_from(query.order_by(None).subquery()))
        return Page(render("review.html", "Review", section="review", rows=rows, count=count))

    @app.get("/cheques/{cheque_id}", response_class=HTMLResponse)
    def cheque_page(cheque_id: str, blind: bool = False) -> Page:
        """One cheque; `blind` hides what was read, for a check that must not be led by it."""
        with store.read() as connection:
            row = find_cheque(connection, cheque_id)
            entries = audit_chain.entries_of(connection, cheque_id)
        unread = row["is_sampled"] and not row["is_checked"]
        to_check, hidden = unread and row["outcome"] != "review", blind and unread
        marks = [] if hidden else digit_marks(row["reading"])
        size = {"width": WIDTH, "height": HEIGHT}
        values = {"row": row, "marks": marks, "entries": entries, "to_check": to_check, "blind": hidden, "size": size}
        return Page(render("cheque.html", "Cheque", section="", **values))

    @app.get("/cheques/{cheque_id}/flat.jpg")
    def picture(cheque_id: str) -> Response:
        """The cheque that was turned flat."""
        with store.read() as connection:
            return Response(flat_picture(connection, cheque_id), media_type="image/jpeg")

    @app.get("/audit", response_class=HTMLResponse)
    def audit_trail() -> Page:
        """The newest entries, and whether the whole trail is as it was written."""
        with store.read() as connection:
            report = audit_verification.verify(connection)
            entries = audit_chain.recent_entries(connection, LISTED)
        return Page(render("audit.html", "Audit trail", section="audit", report=report, entries=entries))

    @app.get("/healthz")
    def health() -> dict[str, str]:
        """Whether the database answers."""
        with store.read() as connection:
            connection.execute(select(1))
        return {"status": "ok"}

    @app.get("/assets/{name}")
    def asset(name: str) -> Response:
        """The style sheet and the icon."""
        kinds = {"style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}
        if name not in kinds:
            raise HTTPException(404, f"no asset {name[:40]!r}")
        content = files("cheques.web").joinpath("static", name).read_bytes()
        return Response(content, media_type=kinds[name], headers={"cache-control": "max-age=3600"})


def _add_actions(app: FastAPI, processor: ChequeProcessor, store: Store, client: ReadingClient) -> None:
    """What changes something."""

    uploads = CapacityLimiter(THREADS_PER_READING * processor.settings.concurrent_readings)

    @app.post("/cheques")
    async def present(request: Request, file: UploadFile, actor: Annotated[str, Form()] = "") -> Response:
        """Decide an uploaded picture of a cheque; many at once wait in threads of their own, so that pages answer."""
        return await to_thread.run_sync(decide_upload, request, file, actor, limiter=uploads)

    def decide_upload(request: Request, file: UploadFile, actor: str) -> Response:
        content = file.file.read(processor.settings.max_upload_bytes + 1)
        cheque_id = processor.present(content, _named(actor) if actor.strip() else MACHINE)
        if not _wants_json(request):
            return RedirectResponse(f"/cheques/{cheque_id}", 303)
        with store.read() as connection:
            row = find_cheque(connection, cheque_id)
        names = ("id", "outcome", "reasons", "code", "amount", "reading", "received_at", "decided_at")
        return JSONResponse({name: row[name] for name in names}, 201)

    @app.post("/cheques/{cheque_id}/review")
    def review(
        tasks: BackgroundTasks,
        cheque_id: str,
        reviewer: Annotated[str, Form()],
        amount: Annotated[str, Form()] = "",
        code: Annotated[str, Form()] = "",
        action: Annotated[str, Form()] = "decide",
        note: Annotated[str, Form()] = "",
    ) -> Response:
        """A person's verdict on a cheque that waits; its amount goes to the platform as a label."""
        verdict = Verdict(amount, code, _named(reviewer), action == "refuse", note.strip()[:400])
        processor.review(cheque_id, verdict)
        tasks.add_task(send_labels, store, client)
        return RedirectResponse(f"/cheques/{cheque_id}", 303)

    @app.post("/cheques/{cheque_id}/check")
    def check(
        tasks: BackgroundTasks, cheque_id: str, amount: Annotated[str, Form()], reviewer: Annotated[str, Form()]
    ) -> Response:
        """What a person reads on a decided cheque that chance drew."""
        processor.check(cheque_id, amount, _named(reviewer))
        tasks.add_task(send_labels, store, client)
        return RedirectResponse(f"/cheques/{cheque_id}", 303)


def _guard(settings: Settings) -> Callable[[Request, Answer], Awaitable[Response]]:
    """Refuses large bodies before they are read, and forms of other sites; sets the headers of every answer."""
    most = settings.max_upload_bytes + FORM_BYTES

    async def guarded(request: Request, answer: Answer) -> Response:
        length = request.headers.get("content-length", "")
        if request.method == "POST" and not (length.isascii() and length.isdecimal() and len(length) < 20):
            response: Response = _fault(request, 411, "say how long the request is (content-length)")
        elif request.method == "POST" and int(length) > most:
            response = _fault(request, 413, f"the request has {length} bytes, and at most {most} are taken")
        elif request.method == "POST" and not _is_same_site(request):
            response = _fault(request, 403, "the form was sent by another site; send it from these pages")
        else:
            response = await answer(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return guarded


def _is_same_site(request: Request) -> bool:
    """Whether a browser says that the form is ours; programs say nothing of the kind."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        return False
    return request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")


def _add_error_pages(app: FastAPI) -> None:
    async def known(request: Request, error: Exception) -> Response:
        status = next((status for kind, status in STATUSES if isinstance(error, kind)), 500)
        return _fault(request, status, str(error))

    async def database(request: Request, error: Exception) -> Response:
        _LOG.error("the database failed: %s", error)
        return _fault(request, 503, "the database did not take it, and nothing was kept; send it again")

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _fault(request, error.status_code, str(error.detail))

    async def malformed(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        said = "; ".join(f"{'.'.join(map(str, item['loc'][1:]))}: {item['msg']}" for item in error.errors()[:5])
        return _fault(request, 422, said)

    app.add_exception_handler(ChequesError, known)
    app.add_exception_handler(DBAPIError, database)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, malformed)


def _fault(request: Request, status: int, detail: str) -> Response:
    headers = {"retry-after": "5"} if status == 503 else {}
    if _wants_json(request):
        return JSONResponse({"status": status, "detail": detail}, status, headers)
    return Page(render("error.html", "That did not work", section="", status=status, detail=detail), status, headers)


def _wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")


def _named(name: str) -> str:
    """Who does it, as the trail says; these pages know no passwords, so a proxy in front must."""
    named = "".join(character for character in name.strip() if character.isprintable())[:MAX_NAME]
    if not named:
        raise HTTPException(422, "reviewer: say who you are; the audit trail names who decided")
    if named.casefold() == MACHINE:
        raise HTTPException(422, f"reviewer {named!r} is how the trail calls this program; say who you are")
    return named
