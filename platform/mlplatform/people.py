"""What people do to alerts, retrainings, versions and cards, with their name in the audit log; it prints nothing."""

from mlplatform.build import Parts
from mlplatform.champion import Change, quarantine
from mlplatform.errors import ConflictError
from mlplatform.production import in_production
from mlplatform.store import alerts, audit, promotions, retrainings
from monitors.alerts import Silence, acknowledge
from registry.card import difference, with_production


def acknowledge_alert(parts: Parts, alert_id: str, actor: str) -> str:
    """Take a firing alert on; returns its state. Raises NotFoundError, and AlertError when it does not fire."""
    now = parts.clock()
    with parts.database.write() as connection:
        alerts.open_alerts(connection, alerts.find(connection, alert_id).model, lock=True)
        moved = acknowledge(alerts.find(connection, alert_id), now)  # read again: the watcher may just have closed it
        if moved.change is not None and moved.alert is not None:
            alerts.set_state(connection, moved.alert)
            alerts.change(connection, alert_id, moved.change, actor, now)
            audit.note(connection, actor, "acknowledge", f"alert/{alert_id}", now)
    return "acknowledged"


def silence_alerts(parts: Parts, silence: Silence, actor: str) -> str:
    """Send no notices of matching alerts until the silence ends; returns its id."""
    now = parts.clock()
    with parts.database.write() as connection:
        made = alerts.silence(connection, silence, actor, now)
        details = {"key": silence.key, "severity": silence.severity, "until": silence.until.isoformat()}
        audit.note(connection, actor, "silence", f"rule/{silence.rule}", now, details)
    return made


def cancel_retraining(parts: Parts, retraining_id: str, actor: str) -> None:
    """Close a queued or running retraining; the champion stays, and a running process notices at its next heartbeat.

    Raises NotFoundError for an unknown id, ConflictError for one that ended or has promoted its candidate.
    """
    now = parts.clock()
    with parts.database.write() as connection:
        retrainings.cancel(connection, retraining_id, actor, now)
        audit.note(connection, actor, "cancel", f"retraining/{retraining_id}", now)


def model_card(parts: Parts, version: int) -> str:
    """The whole card of a version: the run's artifact, or MLflow's description where that is gone.

    Where the version has answered in production, a section says what that showed, read from the store now.
    """
    found = parts.catalog.version(parts.family.name, version)
    text = parts.tracking.read_text(found.run_id, "model_card.md") or found.description
    measured = in_production(parts, version)
    return text if measured is None else with_production(text, measured)


def card_difference(parts: Parts, before: int, after: int) -> str:
    """What changed from one version's card to another's; says so where nothing did."""
    cards = model_card(parts, before), model_card(parts, after)
    changed = difference(*cards, (f"version {before}", f"version {after}"))
    return changed or f"the cards of versions {before} and {after} say the same"


def promote_version(parts: Parts, version: int, reason: str, actor: str, *, force: bool) -> promotions.Promotion:
    """Make a version champion by hand.

    Raises ConflictError against the gate's verdict, and for a version in quarantine, unless forced.
    """
    name = parts.family.name
    gate = parts.catalog.version(name, version).tags.get("gate", "unknown")
    current = parts.champions.current(name)
    if current is not None and current.to_version == version:
        raise ConflictError(f"version {version} is champion already")
    if gate != "promote" and not force:
        raise ConflictError(
            f"the gate's verdict on version {version} is {gate!r}; read `platform models card {version}`, and "
            "use --force to promote it all the same"
        )
    expected = None if current is None else current.to_version
    kind: promotions.Kind = "first" if expected is None else "promote"
    return parts.champions.promote(Change(name, version, expected, kind, actor, reason, force=force))


def quarantine_version(parts: Parts, version: int, reason: str, actor: str, *, lift: bool) -> bool:
    """Set a version apart so that nothing trusts it again, or lift that; returns whether it changed anything.

    Raises ConflictError for the champion, and UnknownVersionError.
    """
    name = parts.family.name
    parts.catalog.version(name, version)
    with parts.database.write() as connection:
        champion = promotions.latest(connection, name)
        if not lift and champion is not None and champion.to_version == version:
            raise ConflictError(
                f"version {version} is champion; `platform models rollback` restores the one before and sets it apart"
            )
        changed = quarantine(connection, name, version, actor, reason, parts.clock(), lifted=lift)
    parts.champions.show_quarantines(name)
    return changed
