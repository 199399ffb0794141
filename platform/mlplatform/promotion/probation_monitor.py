"""The probation of a new champion: the version before answers the same labelled pictures, and may serve again.

`Warden.round` is one look, off the alarm's path: begin or end, compare new labels and latencies, decide, carry out.
Each step is a transaction that proves the leader's lease. A decision is written before it is carried out, and carried
out in the transaction that appends to the history of promotions, with its quarantine and its notices. So a watcher
killed anywhere leaves a step that the next one takes, once; a promotion made meanwhile ends the probation instead.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from mlplatform.alerting import evaluations
from mlplatform.audit import audit_entries
from mlplatform.context import Parts
from mlplatform.feedback import outcomes
from mlplatform.feedback.distinct_inputs import first_pictures
from mlplatform.predictions import prediction_counts
from mlplatform.predictions.stored_image import from_png
from mlplatform.promotion import probations, promotion_history, quarantines
from mlplatform.promotion.probations import Probation
from mlplatform.promotion.promotion_notices import post_rollback
from mlplatform.promotion.promotion_service import Change, promotion_service
from mlplatform.store import leases
from monitors.decisions.latency_regression import Slower, paces, slower
from monitors.statistics.paired_test import Bout, Duel, describe, fight
from monitors.windows.window import HostLatency
from pipelines.errors import PipelineError
from registry.errors import RegistryError, UnknownVersionError

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)
ACTOR: Final = "watcher/probation"
SOURCES: Final = ("audit", "delayed")
"""Labels that may estimate: corrections were picked for being wrong, and would blame whichever version serves."""
AT_ONCE: Final = 256
IN_SERVICE: Final = timedelta(days=1)
"""How much of the version before's service says what pace is usual."""
PATIENCE: Final = timedelta(hours=1)
"""How long past its end a probation waits for a version before that cannot be loaded."""
Answers = Callable[["np.ndarray[Any, Any]"], "np.ndarray[Any, Any]"]
Load = Callable[[Parts, int], Answers]


def load_version(parts: Parts, version: int) -> Answers:
    """A registered version, ready to answer on one thread."""
    from pipelines.candidate.training_spec import champion_of
    from pipelines.engines.torch_engine import set_threads
    from registry.model_package import MODEL_FILE

    set_threads(1)
    return champion_of(parts.catalog, parts.family, version, parts.model_cache, MODEL_FILE).predictor


@dataclass
class Warden:
    """Looks after the probation of one model's champion; `load` gives the version before."""

    parts: Parts
    load: Load = load_version
    _held: tuple[int, Answers] | None = None

    def round(self, lease: leases.Lease) -> Probation | None:
        """One look; returns the probation as it stands then, None where nothing is on probation."""
        probation = self._current(lease)
        if probation is None:
            self._held = None
            return None
        if probation.state == "running":
            after = self._looked_at(probation)
            if after != probation:
                self._write(lease, probation, after)
            probation = after
        return self._carry_out(lease, probation) if probation.state == "failed" else probation

    def _current(self, lease: leases.Lease) -> Probation | None:
        """The champion's probation, begun where it is due; those of versions that no longer serve are ended."""
        name, now, terms = self.parts.rules.model, self.parts.clock(), self.parts.rules.probation
        with self.parts.database.read() as connection:
            champion = promotion_history.latest(connection, name)
            if champion is None:
                return None
            waiting = probations.open_ones(connection, name)
            known = probations.of_promotion(connection, champion.seq)
            due = None if known is not None or not terms.period else self._due(connection, champion, now)
        for each in waiting:
            if each.promotion_seq != champion.seq:
                self._end(
                    lease, each, f"{champion.actor} made version {champion.to_version} champion ({champion.kind})"
                )
            elif not terms.period:
                self._end(lease, each, "probation was switched off in alerts.yaml")
        if due is not None:
            with self.parts.database.write() as connection:
                leases.prove(connection, lease)
                probations.begin(connection, due)
            log.info("version %d is on probation until %s", due.version, due.until)
            return due
        return known if known is not None and known.state in probations.OPEN and terms.period else None

    def _due(self, connection: Connection, champion: promotion_history.Promotion, now: datetime) -> Probation | None:
        """The probation that this promotion begins; a first version and a restored one are on none."""
        terms, name = self.parts.rules.probation, champion.model_name
        if champion.kind != "promote" or now >= champion.at + terms.period:
            return None
        history = promotion_history.history(connection, name, limit=10_000)
        before = promotion_history.previous(history, quarantines.current(connection, name))
        if before is None:
            return None
        return Probation(
            promotion_seq=champion.seq,
            model_name=name,
            version=champion.to_version,
            before=before,
            state="running",
            at=champion.at,
            until=champion.at + terms.period,
            label_level=terms.label_level,
            latency_level=terms.latency_level,
            cursor=outcomes.cursor_at(connection, name, champion.to_version, champion.at),
            duel=Duel().to_json(),
            latency_until=champion.at,
        )

    def _looked_at(self, probation: Probation) -> Probation:
        """The probation after the labels and latencies that are new; pure but for reading."""
        now, new, before = self.parts.clock(), probation.version, probation.before
        after, everything_read = self._compared(probation)
        duel = Duel.from_json(after.duel)
        if duel.proves(after.label_level):
            return _failed(after, describe(duel, new, before), now)
        after, found = self._timed(after, now)
        if found is not None:
            return _failed(after, found.sentence(new, before), now)
        if after.reason and now >= after.until + PATIENCE:  # the version before could not be asked
            return replace(after, state="ended", ended_at=now)
        if after.reason or not everything_read or now < after.until:
            return after
        return replace(after, state="passed", reason=describe(duel, new, before), ended_at=now)

    def _compared(self, probation: Probation) -> tuple[Probation, bool]:
        """The duel after the next labels, and whether no more are known."""
        name, version = probation.model_name, probation.version
        with self.parts.database.read() as connection:
            rows = outcomes.since(connection, name, version, probation.cursor, AT_ONCE)
            telling = [row for row in rows if row.at >= probation.at and row.is_new_for(SOURCES, probation.cursor)]
            pictures = first_pictures(connection, name, version, telling, SOURCES, probation.at)
        first = [row for row in telling if row.prediction_id in pictures]
        try:
            answers = self._before(probation.before, [pictures[row.prediction_id] for row in first])
        except (RegistryError, PipelineError, OSError) as error:
            log.error("version %d cannot be asked what it would have answered: %s", probation.before, error)
            return replace(probation, reason=f"version {probation.before} cannot be asked: {error}"), False
        bouts = [Bout(answer, row.label, row.truth, row.share) for answer, row in zip(answers, first, strict=True)]
        duel = fight(Duel.from_json(probation.duel), bouts, probation.label_level)
        cursor = rows[-1].seq if rows else probation.cursor
        after = replace(probation, duel=duel.to_json(), cursor=cursor, reason="")
        return after, len(rows) < AT_ONCE or rows[-1].known_at >= probation.until

    def _before(self, version: int, pictures: list[bytes]) -> list[str]:
        """What that version answers to the pictures; it stays loaded while it is needed."""
        if not pictures:
            return []
        import numpy as np

        if self._held is None or self._held[0] != version:
            self._held = (version, self.load(self.parts, version))
        probabilities = self._held[1](np.stack([from_png(png) for png in pictures]))
        return [self.parts.family.classes[place] for place in probabilities.argmax(axis=1).tolist()]

    def _timed(self, probation: Probation, now: datetime) -> tuple[Probation, Slower | None]:
        """The newest whole window of the latency rule looked at, once; the level is shared among all such windows."""
        rule = next((rule for rule in self.parts.rules.rules if rule.metric == "latency_ratio"), None)
        if rule is None:
            return probation, None
        begun, name = probation.at, probation.model_name
        end = begun + (min(now, probation.until) - begun) // rule.window * rule.window
        if end <= probation.latency_until:
            return probation, None
        with self.parts.database.read() as connection:
            seen = prediction_counts.latency(connection, name, probation.version, end - rule.window, end)
            usual = prediction_counts.latency(connection, name, probation.before, begun - IN_SERVICE, begun)
            measured = evaluations.baselines_of(connection, name, probation.before).get("latency", {})
        known = {host: HostLatency(numbers["p95_ms"], numbers["calls"]) for host, numbers in measured.items()}
        allowed = self.parts.rules.probation.latency_ratio_max or rule.threshold
        looks = max(1, ceil((probation.until - begun) / rule.window))
        level, least = probation.latency_level / looks, rule.min_samples
        found = slower(seen, paces(known, usual), allowed, least, level, rule.floor_ms)
        return replace(probation, latency_until=end), found

    def _carry_out(self, lease: leases.Lease, probation: Probation) -> Probation:
        """Send the version back, which appends to the history once; it is tried again until that or its end."""
        name, version, before = probation.model_name, probation.version, probation.before
        with self.parts.database.read() as connection:
            barred = before in quarantines.current(connection, name)
        if barred:
            return self._end(lease, probation, f"{probation.reason} But version {before} is in quarantine itself.")
        reason, done = probation.reason, partial(self._sent_back, lease, probation)
        change = Change(name, before, version, "rollback", ACTOR, reason, after=probation.promotion_seq, within=done)
        try:
            promotion_service(self.parts).promote(change)
        except UnknownVersionError as error:
            return self._end(lease, probation, f"{probation.reason} But it cannot be undone: {error}")
        log.warning("version %d was rolled back to version %d: %s", version, before, reason)
        with self.parts.database.read() as connection:
            return probations.of_promotion(connection, probation.promotion_seq) or probation

    def _sent_back(
        self, lease: leases.Lease, probation: Probation, connection: Connection, promotion: promotion_history.Promotion
    ) -> None:
        """What else is written with the rollback: the end of the probation, and the notices."""
        leases.prove(connection, lease)
        after = replace(probation, state="rolled-back", ended_at=promotion.at)
        probations.advance(connection, probation, after)
        post_rollback(connection, self.parts, after)

    def _end(self, lease: leases.Lease, probation: Probation, reason: str) -> Probation:
        log.warning("the probation of version %d ends: %s", probation.version, reason)
        after = replace(probation, state="ended", reason=reason, ended_at=self.parts.clock())
        self._write(lease, probation, after)
        return after

    def _write(self, lease: leases.Lease, before: Probation, after: Probation) -> None:
        with self.parts.database.write() as connection:
            leases.prove(connection, lease)
            probations.advance(connection, before, after)
            if after.state != before.state:
                subject = f"{after.model_name}/{after.version}"
                details = {"probation": after.state, "before": after.before, "reason": after.reason}
                audit_entries.note(connection, ACTOR, "probation", subject, self.parts.clock(), details)


def _failed(probation: Probation, reason: str, now: datetime) -> Probation:
    return replace(probation, state="failed", reason=reason, decided_at=now)
