"""Carries out what people ask of alerts, retrainings, versions and keys, with their name in the audit log."""

import glob
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from fnmatch import fnmatchcase

from sqlalchemy import Connection

from mlplatform.alerting import alert_records
from mlplatform.audit import audit_entries
from mlplatform.auth import api_key as apikeys
from mlplatform.auth import api_keys
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, InvalidInputError, NotFoundError
from mlplatform.operations.production_record import production_record
from mlplatform.operations.views import ApiKeyView
from mlplatform.promotion import approvals, promotion_history
from mlplatform.promotion.promotion_service import PromotionRequest, promotion_service, set_quarantine
from mlplatform.retraining import retraining_endings, retraining_queue
from mlplatform.retraining.approval_requests import reject_approval
from mlplatform.retraining.retraining_queue import RetrainingTrigger
from mlplatform.scopes import validate_scopes
from monitors.alerts import Silence, acknowledge
from registry.card import card_diff, with_production

MAX_NAME_LENGTH = 100
MAX_NOTE_LENGTH = 500
MAX_SILENCE_DURATION = timedelta(days=365)
SEVERITIES = ("info", "warning", "critical")


def acknowledge_alert(context: AppContext, alert_id: str, actor: str, note: str = "") -> str:
    """Acknowledge a firing alert; returns its state. A note stands in its history and in the audit log.

    Raises NotFoundError, AlertError when it does not fire, InvalidInputError for a note that is too long.
    """
    now, note = context.clock(), check_note(note)
    with context.database.write() as connection:
        alert_records.open_alerts(connection, alert_records.find(connection, alert_id).model, lock=True)
        alert = alert_records.find(connection, alert_id)  # read again: the watcher may just have closed it
        transition = acknowledge(alert, now)
        if transition.change is not None and transition.alert is not None:
            alert_records.update_state(connection, transition.alert)
            change = replace(transition.change, reason=note) if note else transition.change
            alert_records.append_transition(connection, alert_id, change, actor, now)
            audit_entries.append(
                connection, actor, "acknowledge", f"alert/{alert_id}", now, {"note": note} if note else {}
            )
    return "acknowledged"


def check_note(note: str) -> str:
    """A note as it is kept, on one line; raises InvalidInputError for one that is too long."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in note).split())
    if len(line) > MAX_NOTE_LENGTH:
        raise InvalidInputError(f"the note has {len(line)} characters; say it in {MAX_NOTE_LENGTH}")
    return line


def silence_alert(context: AppContext, alert_id: str, duration: timedelta, reason: str, actor: str) -> str:
    """Silence one alert's rule and key for so long; returns the silence's id.

    Raises NotFoundError, and InvalidInputError without a reason or for a duration that cannot be.
    """
    reason = check_note(reason)
    if not reason:
        raise InvalidInputError("a silence needs its reason: others will ask why nobody was told")
    with context.database.read() as connection:
        alert = alert_records.find(connection, alert_id)
    rule, key = glob.escape(alert.rule), glob.escape(alert.key)
    return silence_alerts(
        context, Silence(rule, context.clock() + duration, key, reason=reason, model=alert.model), actor
    )


def silence_alerts(context: AppContext, silence: Silence, actor: str) -> str:
    """Send no notices of matching alerts until the silence ends; returns its id.

    Raises NotFoundError where no rule and no open alert matches, InvalidInputError for an end that is none.
    """
    now = context.clock()
    if not now < silence.until <= now + MAX_SILENCE_DURATION:
        raise InvalidInputError(
            f"a silence until {silence.until:%Y-%m-%d %H:%M} UTC does not fit: give a length above 0 and up to "
            f"{MAX_SILENCE_DURATION.days}d, such as 4h; for longer, take the channel out of the rule's `notify`"
        )
    if not any(fnmatchcase(severity, silence.severity) for severity in SEVERITIES):
        raise InvalidInputError(f"severity {silence.severity!r} is none; there are: {', '.join(SEVERITIES)}")
    with context.database.write() as connection:
        open_alerts = alert_records.open_alerts(connection, context.rules.model)
        names = sorted({rule.name for rule in context.rules.rules} | {alert.rule for alert in open_alerts})
        if not any(fnmatchcase(name, silence.rule) for name in names):
            raise NotFoundError(f"no rule is called {silence.rule!r}; there are: {', '.join(names)}")
        silence_id = alert_records.create_silence(connection, silence, actor, now)
        details = {"key": silence.key, "severity": silence.severity, "until": silence.until.isoformat()}
        details |= {"reason": silence.reason} if silence.reason else {}
        details |= {"model": silence.model} if silence.model else {}
        audit_entries.append(connection, actor, "silence", f"rule/{silence.rule}", now, details)
    return silence_id


def end_silence(context: AppContext, silence_id: str, actor: str) -> str:
    """End a silence that is in force, named by its id or the beginning of it; returns its whole id.

    Raises NotFoundError for an unknown one, ConflictError for one that is over or a beginning that several share.
    """
    now = context.clock()
    with context.database.write() as connection:
        matching = [row for row in alert_records.list_silences(connection) if row.id.startswith(silence_id)]
        if not matching or not silence_id:
            raise NotFoundError(
                f"silence {silence_id!r} is not known; `platform alerts silences --all` shows every one"
            )
        if len(matching) > 1:
            raise ConflictError(f"{len(matching)} silences begin with {silence_id!r}; give more of the id")
        [row] = matching
        if not alert_records.end_silence(connection, row.id, now):
            raise ConflictError(f"silence {row.id} was over at {row.until:%Y-%m-%d %H:%M} UTC")
        details = {"silence": row.id, "key": row.key, "severity": row.severity}
        audit_entries.append(connection, actor, "end-silence", f"rule/{row.rule}", now, details)
    return row.id


def request_retraining(
    context: AppContext,
    reason: str,
    actor: str,
    *,
    trigger: RetrainingTrigger = "manual",
    dry_run: bool = False,
    requested_by: str = "",
    details: Mapping[str, str] | None = None,
) -> tuple[str, bool]:
    """Queue a retraining of the served model, or join the one that is queued: (id, whether it is new).

    `requested_by` is who it is for, where that is not the actor; `details` stand in the audit log beside the reason.
    """
    now = context.clock()
    with context.database.write() as connection:
        retraining_id, is_new = retraining_queue.request(
            connection,
            pipeline=context.model_name,
            reason=reason,
            trigger=trigger,
            requested_by=requested_by or actor,
            now=now,
            dry_run=dry_run,
        )
        written = {"reason": reason, **(details or {})}
        audit_entries.append(connection, actor, "ask-retrain", f"retraining/{retraining_id}", now, written)
    return retraining_id, is_new


def cancel_retraining(context: AppContext, retraining_id: str, actor: str) -> None:
    """Close a queued or running retraining; the champion stays, and a running process notices at its next heartbeat.

    Raises NotFoundError for an unknown id, ConflictError for one that ended or has promoted its candidate.
    """
    now = context.clock()
    with context.database.write() as connection:
        retraining_endings.cancel(connection, retraining_id, actor, now)
        audit_entries.append(connection, actor, "cancel", f"retraining/{retraining_id}", now)


def load_model_card(context: AppContext, version: int) -> str:
    """The whole card of a version: the run's artifact, or MLflow's description where that is gone.

    Where the version has answered in production, a section says what that showed, read from the store now.
    """
    registered = context.catalog.version(context.model_name, version)
    text = context.tracking.read_text(registered.run_id, "model_card.md") or registered.description
    section = production_record(context, version)
    return text if section is None else with_production(text, section)


def diff_model_cards(context: AppContext, before: int, after: int) -> str:
    """What changed from one version's card to another's; says so where nothing did."""
    cards = load_model_card(context, before), load_model_card(context, after)
    changed = card_diff(*cards, (f"version {before}", f"version {after}"))
    return changed or f"the cards of versions {before} and {after} say the same"


def promote_version(
    context: AppContext, version: int, reason: str, actor: str, *, force: bool, seen: int | None = None
) -> promotion_history.Promotion:
    """Make a version champion by hand; `seen` is the champion that whoever asks looked at, 0 where there was none.

    Raises ConflictError against the gate's verdict, for a version in quarantine and for one that waits for approval,
    unless forced; and where another version than the one seen is champion.
    """
    name = context.model_name
    gate = context.catalog.version(name, version).tags.get("gate", "unknown")
    current = promotion_service(context).current(name)
    _check_seen(current, seen)
    if current is not None and current.to_version == version:
        raise ConflictError(f"version {version} is champion already")
    if gate != "promote" and not force:
        raise ConflictError(
            f"the gate's verdict on version {version} is {gate!r}; read `platform models card {version}`, and "
            "use --force to promote it all the same"
        )
    expected = None if current is None else current.to_version
    kind: promotion_history.PromotionKind = "first" if expected is None else "promote"

    def check_approval(connection: Connection) -> None:
        waiting = None if force else approvals.find_waiting(connection, name, lock=True)
        if waiting is not None and waiting.version == version:
            raise ConflictError(
                f"version {version} waits for approval until {waiting.expires_at:%Y-%m-%d %H:%M} UTC; approve it with "
                f"`platform models approve {version}`, or use --force to promote it all the same"
            )

    request = PromotionRequest(name, version, expected, kind, actor, reason, force=force, precondition=check_approval)
    return promotion_service(context).promote(request)


def _check_seen(current: promotion_history.Promotion | None, seen: int | None) -> None:
    """Raise ConflictError where the champion is another than the one seen; None has seen none in particular."""
    champion = 0 if current is None else current.to_version
    if seen is not None and seen != champion:
        raise ConflictError(
            f"version {champion or 'none'} is champion now, and version {seen or 'none'} was when the page was made; "
            "load it again, and decide again"
        )


def quarantine_version(context: AppContext, version: int, reason: str, actor: str, *, lift: bool) -> bool:
    """Put a version into quarantine: nothing promotes it again; or lift that. Returns whether it changed anything.

    One that waits for approval waits no more.

    Raises ConflictError for the champion, and UnknownVersionError.
    """
    name = context.model_name
    context.catalog.version(name, version)
    with context.database.write() as connection:
        champion = promotion_history.latest_promotion(connection, name)
        if not lift and champion is not None and champion.to_version == version:
            raise ConflictError(
                f"version {version} is champion; `platform models rollback` restores the one before and sets it apart"
            )
        changed = set_quarantine(connection, name, version, actor, reason, context.clock(), lifted=lift)
        waiting = None if lift else approvals.find_waiting(connection, name, lock=True)
        if waiting is not None and waiting.version == version:
            reject_approval(connection, context, waiting, actor, f"set apart: {reason}", context.clock())
    promotion_service(context).sync_quarantine_tags(name)
    return changed


def create_key(
    context: AppContext, name: str, scopes: Collection[str], lifetime: timedelta | None, actor: str
) -> tuple[str, apikeys.ApiKey]:
    """Make an API key for somebody; its text is returned here and kept nowhere. Raises InvalidInputError."""
    if not name.strip() or len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise InvalidInputError(f"name {name[:40]!r} must be a printable text of 1 to {MAX_NAME_LENGTH} characters")
    (text, presented), now = apikeys.generate(), context.clock()
    until = None if lifetime is None else now + lifetime
    granted = validate_scopes(scopes)
    key = apikeys.ApiKey(presented.id, name.strip(), presented.digest, granted, now, actor, until)
    with context.database.write() as connection:
        api_keys.add(connection, key)
    return text, key


def revoke_key(context: AppContext, key_id: str, actor: str) -> None:
    """End an API key; servers notice within seconds. Raises NotFoundError, and ConflictError for one that ended."""
    with context.database.write() as connection:
        api_keys.revoke(connection, key_id, actor, context.clock())


def describe_keys(context: AppContext) -> list[ApiKeyView]:
    """Every key as people are shown it: without its digest, with its state."""
    with context.database.read() as connection:
        keys = api_keys.list_keys(connection)
    return [
        ApiKeyView(
            id=key.id,
            name=key.name,
            scopes=", ".join(key.scopes),
            created_at=key.created_at,
            created_by=key.created_by,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            last_used_at=key.last_used_at,
            state=key.inactive_reason(context.clock()) or "works",
        )
        for key in keys
    ]
