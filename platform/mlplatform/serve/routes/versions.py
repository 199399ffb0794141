"""Routes of the pages of versions, and of their forms: promote, try, roll back, quarantine."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute

from mlplatform.auth.caller import caller_of
from mlplatform.auth.form_tokens import FormTokens
from mlplatform.context import AppContext
from mlplatform.errors import InvalidInputError
from mlplatform.operations.approval_actions import approve_version, reject_version
from mlplatform.operations.operator_actions import promote_version, quarantine_version
from mlplatform.promotion.promotion_service import promotion_service
from mlplatform.promotion.rollout_service import begin_rollout, stop_rollout
from mlplatform.promotion.rollouts import RolloutRole
from mlplatform.serve.routes.form_body import FormBody, check_confirmed, form_actor, required_reason
from mlplatform.web import version_pages
from mlplatform.web.rendering import PAGE_HEADERS

VersionNumber = Annotated[int, Path(ge=1, lt=2**31)]
Chosen = Annotated[int, Query(ge=1, lt=2**31)]


def versions_router(context: AppContext, form_tokens: FormTokens, route_class: type[APIRoute]) -> APIRouter:
    """GET of the list, of one version and of two beside each other; POST of what changes which one serves."""
    router = APIRouter(route_class=route_class, include_in_schema=False)
    page_route = partial(router.api_route, methods=["GET", "HEAD"], response_class=HTMLResponse)
    promotion_form = FormBody(form_tokens, ("reason", "champion"), ("confirm", "forced_version"))
    rollback_form = FormBody(form_tokens, ("reason", "champion", "target", "confirm"))
    quarantine_form = FormBody(form_tokens, ("reason", "change", "confirm"))

    @page_route("/versions")
    def versions(request: Request) -> HTMLResponse:
        """The versions of the served model, what served when, and the form to roll back."""
        return _page(version_pages.versions_page(context, form_tokens.issue(caller_of(request))))

    @page_route("/versions/compare")
    def comparison(before: Chosen, after: Chosen) -> HTMLResponse:
        """Two versions side by side: figures with intervals, classes, the gate's findings, cards."""
        return _page(version_pages.comparison_page(context, before, after))

    @page_route("/versions/{version}")
    def version(version: VersionNumber, request: Request) -> HTMLResponse:
        """One version, with the forms to promote it and to set it apart."""
        return _page(version_pages.version_page(context, version, form_tokens.issue(caller_of(request))))

    @router.post("/versions/rollback", response_class=RedirectResponse)
    def rollback(request: Request, form: Annotated[Mapping[str, str], Depends(rollback_form)]) -> RedirectResponse:
        """Restore the champion before the one that the page showed, where that is still the one that it named."""
        champion, target, reason = _number(form, "champion"), _number(form, "target"), required_reason(form)
        check_confirmed(form)
        promotion_service(context).rollback(
            context.model_name, form_actor(request), reason, seen=champion, confirmed=target
        )
        return RedirectResponse("../versions", status_code=303)

    @router.post("/versions/{version}/promote", response_class=RedirectResponse)
    def promote(
        version: VersionNumber, request: Request, form: Annotated[Mapping[str, str], Depends(promotion_form)]
    ) -> RedirectResponse:
        """Make a version champion in place of the one that the page showed; its number, typed, forces it."""
        champion, reason, is_forced = _number(form, "champion"), required_reason(form), bool(form["forced_version"])
        if not is_forced:
            check_confirmed(form)
        else:
            _check_typed(form["forced_version"], version, "promoted")
        promote_version(context, version, reason, form_actor(request), force=is_forced, seen=champion)
        return RedirectResponse(f"../{version}", status_code=303)

    @router.post("/versions/{version}/quarantine", response_class=RedirectResponse)
    def quarantine(
        version: VersionNumber, request: Request, form: Annotated[Mapping[str, str], Depends(quarantine_form)]
    ) -> RedirectResponse:
        """Set a version apart, or end that."""
        reason = required_reason(form)
        check_confirmed(form)
        if form["change"] not in ("set", "lift"):
            raise InvalidInputError(f"change {form['change'][:40]!r} is none; it is set or lift")
        quarantine_version(context, version, reason, form_actor(request), lift=form["change"] == "lift")
        return RedirectResponse(f"../{version}", status_code=303)

    return router


def version_forms_router(context: AppContext, form_tokens: FormTokens, route_class: type[APIRoute]) -> APIRouter:
    """POST of the forms of one version's page: try it beside the champion, stop that, approve or reject it."""
    router = APIRouter(route_class=route_class, include_in_schema=False)
    trial_form = FormBody(form_tokens, ("champion", "role", "reason", "confirm"), ("share", "forced_version"))
    stop_form = FormBody(form_tokens, ("role", "reason", "confirm"))
    decision_form = FormBody(form_tokens, ("decision", "confirm"), ("comment",))

    @router.post("/versions/{version}/trial", response_class=RedirectResponse)
    def begin_trial(
        version: VersionNumber, request: Request, form: Annotated[Mapping[str, str], Depends(trial_form)]
    ) -> RedirectResponse:
        """Try a version beside the champion that the page showed, as shadow or as canary for a share of the clients.

        Its number, typed, forces a canary.
        """
        champion, reason, role = _number(form, "champion"), required_reason(form), _role(form)
        check_confirmed(form)
        share = _share(form["share"]) if role == "canary" else 0.0
        is_forced = role == "canary" and bool(form["forced_version"])
        if is_forced:
            _check_typed(form["forced_version"], version, "tried")
        begin_rollout(context, version, role, share, form_actor(request), reason, seen=champion, force=is_forced)
        return RedirectResponse(f"../{version}", status_code=303)

    @router.post("/versions/{version}/trial/stop", response_class=RedirectResponse)
    def stop_trial(
        version: VersionNumber, request: Request, form: Annotated[Mapping[str, str], Depends(stop_form)]
    ) -> RedirectResponse:
        """Stop a version's shadow or canary: the champion answers all clients."""
        reason, role = required_reason(form), _role(form)
        check_confirmed(form)
        stop_rollout(context, version, role, form_actor(request), reason)
        return RedirectResponse(f"../../{version}", status_code=303)

    @router.post("/versions/{version}/decision", response_class=RedirectResponse)
    def decide(
        version: VersionNumber, request: Request, form: Annotated[Mapping[str, str], Depends(decision_form)]
    ) -> RedirectResponse:
        """Approve a candidate that waits for a person, or reject it."""
        check_confirmed(form)
        if form["decision"] == "approve":
            approve_version(context, version, form_actor(request), form["comment"])
        elif form["decision"] == "reject":
            reject_version(context, version, form_actor(request), form["comment"])
        else:
            raise InvalidInputError(f"decision {form['decision'][:40]!r} is none; it is approve or reject")
        return RedirectResponse(f"../{version}", status_code=303)

    return router


def _page(html: str) -> HTMLResponse:
    return HTMLResponse(html, headers=PAGE_HEADERS)


def _number(form: Mapping[str, str], name: str) -> int:
    """The version in a field of the form; raises InvalidInputError."""
    text = form[name]
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InvalidInputError(f"{name} {text[:40]!r} is no version; send the form from its page")
    return int(text)


def _check_typed(typed: str, version: int, change: str) -> None:
    """Raise InvalidInputError unless the number of the version that is to be changed was typed."""
    if typed.strip() != str(version):
        raise InvalidInputError(
            f"version {typed[:40]!r} was typed, and version {version} is to be {change}; type its number"
        )


def _role(form: Mapping[str, str]) -> RolloutRole:
    roles: dict[str, RolloutRole] = {"shadow": "shadow", "canary": "canary"}
    role = roles.get(form["role"])
    if role is None:
        raise InvalidInputError(f"role {form['role'][:40]!r} is none; it is shadow or canary")
    return role


def _share(text: str) -> float:
    """A share written in per cent; raises InvalidInputError."""
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 3 and int(text) > 0):
        raise InvalidInputError(f"share {text[:40]!r} is none; give whole per cent from 1 to 99")
    return int(text) / 100
