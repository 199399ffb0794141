"""What people do, with their name on it."""

import threading
from datetime import timedelta

import pytest

from mlplatform.alerting import alert_records
from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, InvalidInputError, NotFoundError
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.operations.operator_actions import (
    MAX_SILENCE_DURATION,
    acknowledge_alert,
    end_silence,
    load_model_card,
    promote_version,
    silence_alerts,
)
from monitors.alerts import AlertChange, Silence
from monitors.errors import AlertError
from registry.errors import UnknownVersionError
from registry.runs import TrackingStore
from tests.support.monitoring_world import all_alerts, answer, notices, promote, rule, tick, with_rules
from tests.support.platform_world import FakeCatalog


@pytest.fixture
def world(context: AppContext) -> AppContext:
    """A platform whose accuracy alert fires."""
    promote(with_rules(context))
    answer(context, 18, 12)
    evaluate(context, rule(context, "accuracy-drop"), context.clock())
    return context


def newest_entry(context: AppContext) -> tuple[str, str, str]:
    with context.database.read() as connection:
        entry = audit_entries.recent_entries(connection)[0]
    return entry["actor"], entry["action"], entry["subject"]


def test_an_acknowledged_alert_reminds_no_more_and_the_audit_log_names_who(world: AppContext) -> None:
    [alert] = all_alerts(world)
    assert acknowledge_alert(world, alert.id, "ada") == "acknowledged"
    assert newest_entry(world) == ("ada", "acknowledge", f"alert/{alert.id}")
    tick(world, hours=5)
    answer(world, 18, 12)
    evaluate(world, rule(world, "accuracy-drop"), world.clock())
    [alert] = all_alerts(world)
    assert (alert.state, len(notices(world))) == ("acknowledged", 3)


def test_acknowledging_twice_changes_nothing(world: AppContext) -> None:
    [alert] = all_alerts(world)
    acknowledge_alert(world, alert.id, "ada")
    acknowledge_alert(world, alert.id, "bob")
    assert newest_entry(world)[0] == "ada"
    with world.database.read() as connection:
        assert [change.actor for change in alert_records.list_transitions(connection, alert.id)] == [
            "watcher",
            "ada",
        ]


def test_an_unknown_alert_is_said_to_be_unknown(world: AppContext) -> None:
    with pytest.raises(NotFoundError, match="platform alerts list --all"):
        acknowledge_alert(world, "nope", "ada")


@pytest.mark.both_databases
def test_an_alert_that_resolves_at_the_same_moment_is_not_opened_again(world: AppContext) -> None:
    [alert] = all_alerts(world)
    refused: list[Exception] = []

    def acknowledge() -> None:
        try:
            acknowledge_alert(world, alert.id, "ada")
        except AlertError as error:
            refused.append(error)

    from dataclasses import replace

    with world.database.write() as connection:
        alert_records.open_alerts(connection, "digits", lock=True)
        thread = threading.Thread(target=acknowledge)
        thread.start()
        thread.join(0.3)
        alert_records.update_state(connection, replace(alert, state="resolved"))
        alert_records.append_transition(
            connection, alert.id, AlertChange("firing", "resolved", "well again"), "watcher", world.clock()
        )
    thread.join(20)
    assert len(refused) == 1
    assert all_alerts(world)[0].state == "resolved"


def test_a_silence_has_an_end_and_a_name(world: AppContext) -> None:
    until = world.clock() + timedelta(hours=8)
    silence_alerts(world, Silence("latency", until, reason="we know"), "ada")
    assert newest_entry(world) == ("ada", "silence", "rule/latency")
    with world.database.read() as connection:
        assert [silence.rule for silence in alert_records.active_silences(connection, world.clock())] == ["latency"]
        assert alert_records.active_silences(connection, until) == []


def catalog_of(context: AppContext) -> FakeCatalog:
    assert isinstance(context.catalog, FakeCatalog)
    return context.catalog


def test_a_version_the_gate_passed_is_promoted(world: AppContext) -> None:
    catalog_of(world).add("digits", 2, {"gate": "promote"})
    made = promote_version(world, 2, "looks good", "ada", force=False)
    assert (made.kind, made.from_version, made.to_version, made.actor) == ("promote", 1, 2, "ada")
    assert world.catalog.alias("digits", "champion") == 2


def test_a_first_version_is_promoted_as_first(context: AppContext) -> None:
    catalog_of(context).add("digits", 1, {"gate": "promote"})
    assert promote_version(context, 1, "r", "ada", force=False).kind == "first"


@pytest.mark.parametrize("tags", [{"gate": "keep"}, {"gate": "inconclusive"}, {}])
def test_the_gates_verdict_is_overruled_only_by_force(world: AppContext, tags: dict[str, str]) -> None:
    catalog_of(world).add("digits", 2, tags)
    with pytest.raises(ConflictError, match=r"platform models card 2.*--force"):
        promote_version(world, 2, "r", "ada", force=False)
    assert promote_version(world, 2, "r", "ada", force=True).to_version == 2


def test_the_champion_is_not_promoted_again(world: AppContext) -> None:
    with pytest.raises(ConflictError, match="champion already"):
        promote_version(world, 1, "r", "ada", force=True)


def test_an_unknown_version_is_not_promoted(world: AppContext) -> None:
    with pytest.raises(UnknownVersionError):
        promote_version(world, 9, "r", "ada", force=True)


class Shelf(TrackingStore):
    """MLflow's text files in memory."""

    def __init__(self, texts: dict[tuple[str, str], str]) -> None:
        super().__init__("sqlite:///unused.db")
        self.texts = texts

    def read_text(self, run_id: str, name: str) -> str | None:
        return self.texts.get((run_id, name))


def test_a_card_is_the_whole_file_of_the_run(world: AppContext) -> None:
    world = world.replace(tracking=Shelf({("run-1", "model_card.md"): "# the whole card"}))
    assert load_model_card(world, 1).startswith("# the whole card\n\n## In production\n")


def test_a_card_without_its_file_is_the_description(world: AppContext) -> None:
    assert load_model_card(world.replace(tracking=Shelf({})), 1).startswith("card 1\n")


# --- silences


def silenced(context: AppContext, rule: str = "accuracy-*", hours: float = 4, severity: str = "*") -> str:
    until = context.clock() + timedelta(hours=hours)
    return silence_alerts(context, Silence(rule, until, severity=severity), "ada")


def listed(context: AppContext, *, everything: bool = False) -> list[str]:
    with context.database.read() as connection:
        return [row.id for row in alert_records.list_silences(connection, None if everything else context.clock())]


@pytest.mark.parametrize("rule", ["acuracy-drop", "accuracy", "", "Accuracy-drop", "latency ", "x*"])
def test_a_silence_of_no_rule_is_refused_with_the_names_there_are(world: AppContext, rule: str) -> None:
    with pytest.raises(NotFoundError, match="there are: accuracy-drop, class-error, latency"):
        silenced(world, rule)
    assert listed(world, everything=True) == []


def test_a_rule_that_is_gone_may_be_silenced_while_its_alert_is_open(world: AppContext) -> None:
    text = world.settings.alerts_file.read_text(encoding="utf-8")
    with_rules(world, text.replace("name: accuracy-drop", "name: another"))
    assert listed(world) == [] != [silenced(world, "accuracy-drop")]


@pytest.mark.parametrize("hours", [0, -1, MAX_SILENCE_DURATION / timedelta(hours=1) + 1])
def test_a_silence_has_a_length_that_is_neither_nothing_nor_for_ever(world: AppContext, hours: float) -> None:
    with pytest.raises(InvalidInputError, match="give a length above 0 and up to 365d"):
        silenced(world, hours=hours)
    assert listed(world, everything=True) == []


def test_a_silence_of_no_severity_is_refused(world: AppContext) -> None:
    with pytest.raises(InvalidInputError, match="there are: info, warning, critical"):
        silenced(world, severity="fatal")


@pytest.mark.both_databases
def test_silences_are_listed_while_they_last_newest_first(world: AppContext) -> None:
    first, second = silenced(world, hours=1), silenced(world, hours=2)
    assert listed(world) == [second, first]
    tick(world, hours=1)
    assert listed(world) == [second]
    assert listed(world, everything=True) == [second, first]


def test_a_silence_that_is_ended_lets_notices_out_again_and_the_audit_log_names_who(world: AppContext) -> None:
    made = silenced(world)
    tick(world, hours=1)
    assert end_silence(world, made[:-1], "bob") == made
    assert newest_entry(world) == ("bob", "end-silence", "rule/accuracy-*")
    assert listed(world) == []
    before = len(notices(world))
    tick(world, hours=2)
    answer(world, 18, 12)
    tick(world, hours=2)
    answer(world, 18, 12)
    evaluate(world, rule(world, "accuracy-drop"), world.clock())
    assert len(notices(world)) == before + 3


@pytest.mark.both_databases
def test_a_silence_ends_once_and_by_a_name_of_its_own(world: AppContext) -> None:
    made, other = silenced(world), silenced(world)
    for wrong in ("", "nope"):
        with pytest.raises(NotFoundError, match="platform alerts silences"):
            end_silence(world, wrong, "ada")
    shared = next(made[:size] for size in range(len(made), 0, -1) if other.startswith(made[:size]))
    with pytest.raises(ConflictError, match="2 silences begin with"):
        end_silence(world, shared, "ada")
    end_silence(world, made, "ada")
    with pytest.raises(ConflictError, match="was over"):
        end_silence(world, made, "ada")
    assert listed(world) == [other]
