"""The pages of versions: what they compare, and forms that promote, roll back and set apart."""

import re
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from mlplatform.audit.audit_entries import recent_entries
from mlplatform.context import AppContext
from mlplatform.feedback import label_records
from mlplatform.ids import uuid7
from mlplatform.predictions.shadow_predictions import ShadowPrediction, insert_shadow_predictions
from mlplatform.promotion import approvals, promotion_history, quarantines, rollouts
from mlplatform.promotion.approvals import Approval
from mlplatform.serve.api_server import ApiServer, build_server
from registry.gate.checks import GateCheck
from registry.gate.row_outcomes import ROWS_FILE, GateRowOutcomes, RowOutcomes
from registry.gate.verdict import Verdict
from tests.support.api_server import StockedCatalog, loaded, problem, running
from tests.support.guarded_server import guarded, key, shown
from tests.support.monitoring_world import with_rules
from tests.support.page_forms import form_token, holder
from tests.support.platform_world import prediction, recorded
from tests.support.rollout_rows import over
from tests.support.stub_tracking import KeptTexts

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def tracking() -> KeptTexts:
    """Runs with their cards, one with the gate's findings."""
    checks = (
        GateCheck("golden", True, "better by 2 points"),
        GateCheck("latency", False, f"slower {HOSTILE}"),
        GateCheck("benefit", None, "too few rows"),
    )
    cards = {(f"run-{version}", "model_card.md"): f"card of run-{version}" for version in (1, 2, 3)}
    return KeptTexts(cards | {("run-2", "verdict.json"): Verdict("keep", ("slower",), checks).to_json()})


@pytest.fixture
def server(lite: AppContext, tracking: KeptTexts) -> ApiServer:
    """A server of three versions: 1 was champion, 2 is, 3 passed the gate."""
    context = with_rules(lite.replace(tracking=tracking))
    catalog = context.catalog
    assert isinstance(catalog, StockedCatalog)
    for version, gate, correct in ((1, "promote", 900), (2, "keep", 960), (3, "promote", 965)):
        catalog.add("digits", version, {"gate": gate, "golden_correct": str(correct), "golden_total": "1000"})
    for version, expected in ((1, None), (2, 1)):
        serve(context, version, expected)
    made = build_server(context)
    made.model_slot.swap(loaded(2))
    return made


def serve(context: AppContext, version: int, expected: int | None) -> None:
    with context.database.write() as connection:
        promotion_history.append(
            connection,
            model_name="digits",
            expected=expected,
            to_version=version,
            kind="promote" if expected else "first",
            now=context.clock(),
            actor="ada",
            reason="better",
            fence=1,
        )


@pytest.fixture
def client(server: ApiServer) -> Iterator[httpx.Client]:
    with running(server) as client:
        yield client


def champion(server: ApiServer) -> int:
    with server.context.database.read() as connection:
        newest = promotion_history.latest_promotion(connection, "digits")
    assert newest is not None
    return newest.to_version


def cells(page: str, name: str) -> list[str]:
    return re.findall(rf'<td data-name="{name}"[^>]*>(.*?)</td>', page)


def labelled(server: ApiServer, version: int, truth: str, right: int, wrong: int) -> None:
    """So many right and wrong answers of a version about one class."""
    context, now = server.context, server.context.clock()
    answers = [truth] * right + ["0"] * wrong
    ids = recorded(
        context.database,
        *(prediction(now, seed=seed % 5, label=label, version=version) for seed, label in enumerate(answers)),
    )
    labels = [label_records.SubmittedLabel(each, truth, "audit", "ada", now) for each in ids]
    with context.database.write() as connection:
        label_records.insert_labels(connection, labels, now)


def test_the_list_says_what_serves_what_passed_and_what_served_when(client: httpx.Client) -> None:
    page = client.get("/versions").text
    assert cells(page, "gate") == ["promote", "keep", "promote"]
    assert cells(page, "golden accuracy")[2] == "90.0 % (88.0 % to 91.8 %), 1,000 rows"
    assert ["champion" in text for text in cells(page, "standing")] == [False, True, False]
    assert "version 2 after 1, by ada: better" in page
    assert "Version 1 serves again, and version 2 goes into quarantine." in page


def test_one_version_shows_each_finding_of_the_gate(client: httpx.Client) -> None:
    page = client.get("/versions/2").text
    assert list(zip(cells(page, "check"), cells(page, "result"), strict=True)) == [
        ("golden", "passed"),
        ("latency", "failed"),
        ("benefit", "not settled"),
    ]
    assert HOSTILE not in page
    assert "It is champion." in page
    assert "<form" not in page


def test_two_versions_are_compared_with_intervals_classes_and_cards(server: ApiServer, client: httpx.Client) -> None:
    labelled(server, 1, "3", right=60, wrong=40)
    labelled(server, 2, "3", right=99, wrong=1)
    labelled(server, 1, "5", right=50, wrong=0)
    labelled(server, 2, "5", right=49, wrong=1)
    page = client.get("/versions/compare", params={"before": 1, "after": 2}).text
    figures = dict(zip(cells(page, "figure"), cells(page, "change"), strict=False))
    assert figures["Golden accuracy"] == '+6.0 points <span class="badge warning">apart</span>'
    classes = list(zip(cells(page, "class"), cells(page, "change")[-2:], strict=True))
    assert classes == [("3", '+39.0 points <span class="badge warning">apart</span>'), ("5", "-2.0 points")]
    assert "98.0 % (89.4 % to 99.9 %), 50" in page
    assert "+card of run-2" in page
    assert "keeps no findings" in page
    assert HOSTILE not in page


def test_rows_gained_and_lost_are_shown_with_both_answers(
    server: ApiServer, client: httpx.Client, tracking: KeptTexts
) -> None:
    context, now = server.context, server.context.clock()
    ids = recorded(
        context.database, *(prediction(now, seed=seed, label=label, version=2) for seed, label in enumerate("8335"))
    )
    labels = [label_records.SubmittedLabel(each, "3", "audit", "ada", now) for each in ids]
    said = [ShadowPrediction(each, 3, "t", now, label, [], 0.9, 1.0) for each, label in zip(ids, "3183", strict=True)]
    with context.database.write() as connection:
        label_records.insert_labels(connection, labels, now)
        insert_shadow_predictions(connection, said)
    over(context.database, 3, 2, now - timedelta(hours=1), now + timedelta(hours=1))
    kept = {2: "1100", 3: "1011"}
    for version, right in kept.items():
        marks = RowOutcomes("set", ("a", "b", "c", "d"), right)
        tracking.texts[f"run-{version}", ROWS_FILE] = GateRowOutcomes(marks, None).to_json()
    page = client.get("/versions/compare", params={"before": 2, "after": 3}).text
    assert "Of 4 golden rows 2 were gained and 1 lost." in page
    assert "Compared: 4." in page
    assert "Gained: 2" in page
    assert "Lost: 2" in page
    assert re.findall(r"predictions/([^/]+)/image", page) == [ids[3], ids[0], ids[2], ids[1]]
    turned = client.get("/versions/compare", params={"before": 3, "after": 2}).text
    assert re.findall(r"predictions/([^/]+)/image", turned) == [ids[2], ids[1], ids[3], ids[0]]
    alone = client.get("/versions/compare", params={"before": 1, "after": 3}).text
    assert "No labelled answer was given by both" in alone
    assert "do not both keep" in alone


def test_a_registry_that_is_away_leaves_the_comparison_with_what_the_database_knows(
    client: httpx.Client, tracking: KeptTexts
) -> None:
    tracking.away = True
    page = client.get("/versions/compare?before=1&after=2")
    assert page.status_code == 200
    assert "The gate&#39;s findings cannot be read now." in page.text
    assert "The cards cannot be read now." in page.text


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/versions/9", 404, "there are: 3, 2, 1"),
        ("/versions/compare?before=1&after=9", 404, "version 9 is not registered"),
        ("/versions/compare?before=1", 422, "after"),
        ("/versions/x", 422, "version"),
        ("/versions/99999999999999999999", 422, "version"),
    ],
)
def test_a_version_nobody_knows_is_told_so(client: httpx.Client, path: str, status: int, told: str) -> None:
    assert told in problem(client.get(path), status)


def test_a_version_that_passed_is_promoted_with_a_reason(server: ApiServer, client: httpx.Client) -> None:
    assert 'name="confirm"' in client.get("/versions/3").text
    form = {"champion": "2", "reason": f"quicker {HOSTILE}", "confirm": "yes"} | form_token(server)
    answer = client.post("/versions/3/promote", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "../3")
    assert champion(server) == 3
    page = client.get("/versions").text
    assert "by dashboard: quicker &lt;script&gt;" in page
    assert HOSTILE not in page
    with server.context.database.read() as connection:
        [entry] = [each for each in recent_entries(connection) if each["action"] == "promote"]
    assert (entry["actor"], entry["subject"]) == ("dashboard", "digits/3")


def test_one_that_failed_is_promoted_by_typing_its_number_alone(server: ApiServer, client: httpx.Client) -> None:
    serve(server.context, 3, 2)
    assert "To promote it all the same, type its number." in client.get("/versions/2").text
    form = {"champion": "3", "reason": "we must"} | form_token(server)
    refused = client.post("/versions/2/promote", data=form | {"confirm": "yes"})
    assert "the gate&#39;s verdict" in refused.text or "the gate's verdict" in problem(refused, 409)
    assert "type its number" in problem(client.post("/versions/2/promote", data=form | {"forced_version": "3"}), 422)
    assert champion(server) == 3
    assert client.post("/versions/2/promote", data=form | {"forced_version": " 2 "}).status_code == 303
    assert champion(server) == 2


@pytest.mark.parametrize(
    ("path", "change", "status", "told"),
    [
        ("/versions/3/promote", {"confirm": ""}, 422, "tick the box"),
        ("/versions/3/promote", {"reason": " "}, 422, "no reason was given"),
        ("/versions/3/promote", {"champion": "1"}, 409, "version 2 is champion now, and version 1 was"),
        ("/versions/3/promote", {"champion": "x"}, 422, "is no version"),
        ("/versions/2/promote", {}, 409, "champion already"),
        ("/versions/9/promote", {}, 404, "no version 9"),
        ("/versions/rollback", {"champion": "1", "target": "1"}, 409, "version 2 is champion now"),
        ("/versions/rollback", {"target": "3"}, 409, "version 1 would be restored now, and version 3 was to be"),
        ("/versions/rollback", {"target": "x"}, 422, "target 'x' is no version"),
        ("/versions/rollback", {"target": "1", "confirm": "no"}, 422, "tick the box"),
        ("/versions/3/quarantine", {"change": "both", "champion": None}, 422, "it is set or lift"),
        ("/versions/2/quarantine", {"change": "set", "champion": None}, 409, "version 2 is champion"),
    ],
)
def test_what_was_not_meant_so_changes_nothing(
    server: ApiServer, client: httpx.Client, path: str, change: dict[str, str | None], status: int, told: str
) -> None:
    form = {"champion": "2", "reason": "r", "confirm": "yes"} | form_token(server) | change
    answer = client.post(path, data={name: text for name, text in form.items() if text is not None})
    assert told in problem(answer, status)
    assert champion(server) == 2


def test_the_champion_before_is_restored_and_the_bad_one_set_apart(server: ApiServer, client: httpx.Client) -> None:
    page = client.get("/versions").text
    assert '<input type="hidden" name="target" value="1">' in page
    form = {"champion": "2", "target": "1", "reason": "wrong sevens", "confirm": "yes"} | form_token(server)
    assert client.post("/versions/rollback", data=form).status_code == 303
    assert champion(server) == 1
    assert "wrong sevens" in cells(client.get("/versions").text, "standing")[1]
    assert "It is in quarantine." in client.get("/versions/2").text
    problem(client.post("/versions/rollback", data=form), 409)
    assert champion(server) == 1


def test_a_rollback_restores_no_other_version_than_was_confirmed(server: ApiServer, client: httpx.Client) -> None:
    serve(server.context, 3, 2)
    page = client.get("/versions").text
    assert '<input type="hidden" name="target" value="2">' in page
    apart = {"change": "set", "reason": "odd weights", "confirm": "yes"} | form_token(server)
    assert client.post("/versions/2/quarantine", data=apart).status_code == 303
    form = {"champion": "3", "target": "2", "reason": "worse", "confirm": "yes"} | form_token(server)
    assert "version 1 would be restored now" in problem(client.post("/versions/rollback", data=form), 409)
    assert champion(server) == 3
    assert client.post("/versions/rollback", data=form | {"target": "1"}).status_code == 303
    assert champion(server) == 1


def test_a_version_is_set_apart_and_taken_back(server: ApiServer, client: httpx.Client) -> None:
    form = {"change": "set", "reason": "odd weights", "confirm": "yes"} | form_token(server)
    assert client.post("/versions/3/quarantine", data=form).status_code == 303
    with server.context.database.read() as connection:
        assert quarantines.quarantined_versions(connection, "digits")[3].reason == "odd weights"
    assert "End its quarantine" in client.get("/versions/3").text
    assert client.post("/versions/3/quarantine", data=form | {"change": "lift"}).status_code == 303
    with server.context.database.read() as connection:
        assert 3 not in quarantines.quarantined_versions(connection, "digits")
        actions = {each["action"] for each in recent_entries(connection)}
    assert {"quarantine", "lift-quarantine"} <= actions


def wait_for_approval(server: ApiServer, version: int = 3) -> None:
    now = server.context.clock()
    until, by = now + timedelta(days=7), "retraining/1"
    verdict = {"outcome": "promote"}
    asked = Approval(uuid7(), "digits", version, 2, "waiting", f"drop {HOSTILE}", by, now, until, None, verdict)
    with server.context.database.write() as connection:
        approvals.request(connection, asked)


def approval_states(server: ApiServer) -> list[tuple[str, str, str]]:
    with server.context.database.read() as connection:
        return [
            (each.state, each.decided_by, each.comment) for each in approvals.latest_approvals(connection, "digits")
        ]


def test_a_candidate_that_waits_is_approved(server: ApiServer, client: httpx.Client) -> None:
    wait_for_approval(server)
    assert "Approve or reject" not in client.get("/versions/2").text
    page = client.get("/versions/3").text
    assert "waits for a person until" in page
    assert HOSTILE not in page
    assert "<button>Promote</button>" not in page
    overview = client.get("/").text
    assert re.search(r'<a href="\./versions/3">Approve or reject version 3 until [^<]+</a>', overview)
    form = {"decision": "approve", "comment": "fine", "confirm": "yes"} | form_token(server)
    assert client.post("/versions/3/decision", data=form).status_code == 303
    assert champion(server) == 3
    assert approval_states(server) == [("approved", "dashboard", "fine")]
    problem(client.post("/versions/3/decision", data=form), 404)


def test_a_candidate_that_waits_is_rejected_with_a_reason(server: ApiServer, client: httpx.Client) -> None:
    wait_for_approval(server)
    form = {"decision": "reject", "confirm": "yes"} | form_token(server)
    assert "needs its reason" in problem(client.post("/versions/3/decision", data=form), 422)
    assert "tick the box" in problem(client.post("/versions/3/decision", data=form | {"confirm": "no"}), 422)
    assert "approve or reject" in problem(client.post("/versions/3/decision", data=form | {"decision": "x"}), 422)
    assert client.post("/versions/3/decision", data=form | {"comment": "odd"}).status_code == 303
    assert champion(server) == 2
    assert approval_states(server) == [("rejected", "dashboard", "odd")]
    assert "<button>Promote</button>" in client.get("/versions/3").text


def newest_trial(server: ApiServer) -> tuple[int, str, float, str, str] | None:
    with server.context.database.read() as connection:
        found = rollouts.latest_rollout(connection, "digits")
    return None if found is None else (found.version, found.role, found.share, found.state, found.actor)


def test_a_version_is_tried_as_canary_for_a_share_and_stopped(server: ApiServer, client: httpx.Client) -> None:
    assert "Try it beside version 2" in client.get("/versions/3").text
    form = {"champion": "2", "role": "canary", "share": "25", "reason": f"new {HOSTILE}", "confirm": "yes"}
    answer = client.post("/versions/3/trial", data=form | form_token(server))
    assert (answer.status_code, answer.headers["location"]) == (303, "../3")
    assert newest_trial(server) == (3, "canary", 0.25, "running", "dashboard")
    page = client.get("/versions/3").text
    assert "version 3, canary for 25% of clients beside version 2" in page
    assert "Stop the canary of version 3" in page
    assert "Version 3</a> is tried now (canary)" in client.get("/versions/1").text
    stop = {"role": "canary", "reason": f"enough {HOSTILE}", "confirm": "yes"} | form_token(server)
    answer = client.post("/versions/3/trial/stop", data=stop)
    assert (answer.status_code, answer.headers["location"]) == (303, "../../3")
    assert newest_trial(server) == (3, "canary", 0.25, "stopped", "dashboard")
    page = client.get("/versions").text
    assert "Stopped by dashboard: enough &lt;script&gt;" in page
    assert HOSTILE not in page
    with server.context.database.read() as connection:
        actions = [(each["actor"], each["action"], each["subject"]) for each in recent_entries(connection)]
    assert {("dashboard", "begin-canary", "digits/3"), ("dashboard", "end-canary", "digits/3")} <= set(actions)


def test_a_canary_against_the_gate_or_before_its_approval_wants_its_number_typed(
    server: ApiServer, client: httpx.Client
) -> None:
    assert "for a canary <input" not in client.get("/versions/3").text
    wait_for_approval(server)
    page = client.get("/versions/3").text
    assert "It waits for approval. To let it answer clients all the same, type its number" in page
    form = {"champion": "2", "role": "canary", "share": "25", "reason": "r", "confirm": "yes"} | form_token(server)
    assert "waits for approval" in problem(client.post("/versions/3/trial", data=form), 409)
    assert "is to be tried" in problem(client.post("/versions/3/trial", data=form | {"forced_version": "2"}), 422)
    assert newest_trial(server) is None
    assert client.post("/versions/3/trial", data=form | {"forced_version": "3"}).status_code == 303
    assert newest_trial(server) == (3, "canary", 0.25, "running", "dashboard")


def test_a_shadow_answers_no_share(server: ApiServer, client: httpx.Client) -> None:
    form = {"champion": "2", "role": "shadow", "share": "50", "reason": "r", "confirm": "yes"} | form_token(server)
    assert client.post("/versions/3/trial", data=form).status_code == 303
    assert newest_trial(server) == (3, "shadow", 0.0, "running", "dashboard")
    assert "tried already" in problem(client.post("/versions/1/trial", data=form), 409)


@pytest.mark.parametrize(
    ("path", "change", "status", "told"),
    [
        ("/versions/3/trial", {"confirm": "no"}, 422, "tick the box"),
        ("/versions/3/trial", {"reason": " "}, 422, "no reason was given"),
        ("/versions/3/trial", {"role": "champion"}, 422, "it is shadow or canary"),
        ("/versions/3/trial", {"share": "0"}, 422, "from 1 to 99"),
        ("/versions/3/trial", {"share": "100"}, 422, "from 1 to 99"),
        ("/versions/3/trial", {"share": "\u0665"}, 422, "from 1 to 99"),
        ("/versions/3/trial", {"champion": "1"}, 409, "version 2 is champion now, and version 1 was"),
        ("/versions/2/trial", {}, 409, "champion itself"),
        ("/versions/9/trial", {}, 404, "no version 9"),
        ("/versions/3/trial/stop", {"champion": None, "share": None}, 404, "is no canary"),
    ],
)
def test_a_trial_that_was_not_meant_so_is_refused(
    server: ApiServer, client: httpx.Client, path: str, change: dict[str, str | None], status: int, told: str
) -> None:
    form = {"champion": "2", "role": "canary", "share": "10", "reason": "r", "confirm": "yes"} | change
    sent = {name: text for name, text in form.items() if text is not None} | form_token(server)
    assert told in problem(client.post(path, data=sent), status)
    assert newest_trial(server) is None


def test_a_version_in_quarantine_is_offered_no_trial(server: ApiServer, client: httpx.Client) -> None:
    apart = {"change": "set", "reason": "odd weights", "confirm": "yes"} | form_token(server)
    assert client.post("/versions/3/quarantine", data=apart).status_code == 303
    assert "Try it" not in client.get("/versions/3").text
    form = {"champion": "2", "role": "shadow", "reason": "r", "confirm": "yes"} | form_token(server)
    assert "is in quarantine" in problem(client.post("/versions/3/trial", data=form), 409)


def test_a_key_that_may_only_read_changes_no_version(lite: AppContext, tracking: KeptTexts) -> None:
    server = guarded(with_rules(lite.replace(tracking=tracking)))
    text = key(server, "audit")
    with running(server) as client:
        client.headers.update(shown(text, "basic"))
        assert client.get("/versions").status_code == 200
        token = form_token(server, holder(text))
        changes = ("3/promote", "rollback", "3/quarantine", "3/decision", "3/trial", "3/trial/stop")
        for change in changes:
            assert client.post(f"/versions/{change}", data=token).status_code == 403
