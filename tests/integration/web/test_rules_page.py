"""The page of the rules: what is loaded, what each can find, and a draft that is checked and replayed."""

import html
import os
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from threading import Thread

import httpx
import pytest
from sqlalchemy import delete

from mlplatform.context import AppContext
from mlplatform.errors import BusyError
from mlplatform.monitoring.backtest.backtest import run_backtest
from mlplatform.monitoring.backtest.draft_backtest import BlankEnvironment, DraftBacktester, DraftLimits, DraftOutcome
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.operations.doctor.detection_diagnostics import check_budgets
from mlplatform.serve.api_server import ApiServer, build_server
from mlplatform.store.tables.alerting import baselines
from mlplatform.store.version_contracts import CONTRACT_KIND, VersionContracts
from mlplatform.web.rule_forecasts import load_forecasts
from monitors.rules.alerts_config import parse_rules
from registry.errors import RegistryUnavailableError
from tests.support.api_server import StockedCatalog, loaded, problem, running
from tests.support.guarded_server import guarded, key, shown
from tests.support.monitoring_world import RULES, answer, promote, rule, tick, with_rules
from tests.support.page_forms import form_token, holder
from tests.support.platform_world import FakeClock
from tests.support.waiting import eventually

HOSTILE = "<script>alert(1)</script>"
STRICT = RULES.replace("above: 0.5 points, window: 1h", "above: 20 points, window: 1h")


@pytest.fixture
def server(lite: AppContext) -> ApiServer:
    """A server whose champion answered badly for an hour, and whose rule said so."""
    context = with_rules(lite.replace(clock=FakeClock()))
    promote(context)
    tick(context, hours=2)
    answer(context, right=60, wrong=60)
    evaluate(context, rule(context, "accuracy-drop"), context.clock())
    made = build_server(context)
    made.model_slot.swap(loaded(1))
    return made


@pytest.fixture
def client(server: ApiServer) -> Iterator[httpx.Client]:
    with running(server) as client:
        yield client


def cells(page: str, name: str) -> list[str]:
    return re.findall(rf'<td (?:class="number" )?data-name="{name}">(.*?)</td>', page)


def test_each_rule_is_shown_as_loaded_with_its_state_and_what_the_doctor_says(
    server: ApiServer, client: httpx.Client
) -> None:
    eventually(lambda: "being worked out" not in client.get("/rules").text)
    page = client.get("/rules").text
    assert [text.split(" ")[0] for text in cells(page, "rule")] == ["accuracy-drop", "latency", "class-error"]
    assert cells(page, "asks")[:2] == [
        "accuracy_drop above 0.5 points over 1h",
        "latency_ratio above 2.00 x over 5m, for 2m",
    ]
    assert cells(page, "then")[0] == "retrain, tell team-slack, tell mail, tell events, tell nobody"
    assert 'class="breach">breach' in cells(page, "state")[0]
    assert cells(page, "state")[1] == "not evaluated yet"
    for _, sentence in check_budgets(server.context):
        assert sentence in html.unescape(page)
    assert "whsec_" not in page, "what channels hold is not shown"
    assert "slack.test" not in page


def test_rules_that_cannot_be_read_are_told_by_line_and_key(lite: AppContext) -> None:
    server = build_server(with_rules(lite, RULES.replace("min_samples: 20", "min_samples: many")))
    server.model_slot.swap(loaded(1))
    with running(server) as client:
        page = client.get("/rules").text
    assert "The rules cannot be read:" in page
    assert "<code>rules[0].min_samples</code>" in page


def test_a_file_that_changed_since_is_told(server: ApiServer, client: httpx.Client) -> None:
    assert "a restart loads it" not in client.get("/rules").text
    server.context.settings.alerts_file.write_text(STRICT, encoding="utf-8")
    page = client.get("/rules").text
    assert "a restart loads it" in page
    assert cells(page, "asks")[0] == "accuracy_drop above 0.5 points over 1h"


def test_all_findings_are_of_the_rules_as_loaded(server: ApiServer) -> None:
    before = load_forecasts(server.context)
    server.context.settings.alerts_file.write_text(STRICT.replace("1 per 90d", "5 per 90d"), encoding="utf-8")
    assert load_forecasts(server.context) == before
    server.context.settings.alerts_file.write_text("[", encoding="utf-8")
    assert load_forecasts(server.context) == before


def test_rules_on_another_model_than_the_served_one_are_told(lite: AppContext) -> None:
    server = build_server(with_rules(lite, RULES.replace("model: digits", "model: others")))
    server.model_slot.swap(loaded(1))
    with running(server) as client:
        page = client.get("/rules").text
    assert "These rules watch model others, and this server serves digits" in page


def test_without_mlflow_the_page_says_what_was_not_looked_at(server: ApiServer, stocked: StockedCatalog) -> None:
    known = load_forecasts(server.context)
    with server.context.database.write() as connection:
        connection.execute(delete(baselines).where(baselines.c.kind == CONTRACT_KIND))
    stocked.away = RegistryUnavailableError("MLflow is away")
    found = load_forecasts(server.context.replace(contracts=VersionContracts(lambda: stocked)))
    assert found.is_ready
    assert ("note", "not looked at: MLflow is away") in found.findings
    assert set(found.findings) & set(known.findings), "what needs no MLflow is there"


def test_a_draft_is_replayed_as_the_command_does_and_nothing_is_saved(server: ApiServer, client: httpx.Client) -> None:
    context, before = server.context, server.context.settings.alerts_file.read_text(encoding="utf-8")
    for text in (RULES, STRICT):
        form = {"draft": text, "period": "7d"} | form_token(server)
        page = client.post("/rules/backtest", data=form)
        assert page.status_code == 200
        expected = run_backtest(context, parse_rules(text, "draft", {}), timedelta(days=7))
        assert cells(page.text, "alarms") == [str(each.alarms) for each in expected.rules]
        assert cells(page.text, "fired") != []
        assert "Nothing was saved." in page.text
        assert html.escape(text.splitlines()[-1]) in page.text.replace("&#34;", "&quot;")
    assert context.settings.alerts_file.read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("draft", "told"),
    [
        (f"version: 1\nmodel: digits\n{HOSTILE}: 1\n", "line 3"),
        (RULES.replace("metric: latency_ratio", "metric: latency_ration"), "latency_ratio"),
        (RULES.replace("model: digits", "model: others"), "these rules watch model"),
        ("[" * 2000, "nested too deeply"),
    ],
)
def test_a_draft_that_cannot_be_used_is_told_why(
    server: ApiServer, client: httpx.Client, draft: str, told: str
) -> None:
    page = client.post("/rules/backtest", data={"draft": draft, "period": "7d"} | form_token(server))
    assert page.status_code == 200
    assert told in page.text
    assert HOSTILE not in page.text


def test_a_draft_is_given_no_value_of_the_servers_environment(
    server: ApiServer, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOP_SECRET", "hunter2")
    draft = RULES.replace("name: latency", 'name: "${TOP_SECRET}"').replace("http://events.test/in", "${TOP_SECRET}")
    page = client.post("/rules/backtest", data={"draft": draft, "period": "7d"} | form_token(server)).text
    assert "hunter2" not in page
    assert "<code>rules[1].name</code>" in page
    assert "whsec_a" in page, "the draft itself is given back as it was sent"
    assert os.environ["TOP_SECRET"] == "hunter2"


def test_references_are_left_empty_and_their_defaults_hold() -> None:
    text = RULES.replace('"http://slack.test/hook"', '"${HOOK}"').replace("model: digits", "model: ${NAME:-digits}")
    assert parse_rules(text, "draft", BlankEnvironment()).model == "digits"


def test_a_reference_in_a_number_of_a_channel_is_no_fault_of_a_draft(server: ApiServer) -> None:
    draft = RULES.replace("port: 1,", 'port: "${PORT}",')
    outcome = DraftBacktester().run(server.context, draft, timedelta(days=7))
    assert (outcome.problems, outcome.refusal) == ((), "")
    assert outcome.result is not None
    wrong = draft.replace("starttls: false", "starttls: perhaps").replace("min_samples: 20", "min_samples: many")
    outcome = DraftBacktester().run(server.context, wrong, timedelta(days=7))
    assert [problem.key for problem in outcome.problems] == ["channels.mail.starttls", "rules[0].min_samples"]


def test_more_slots_than_are_replayed_are_counted_first(server: ApiServer) -> None:
    outcome = DraftBacktester(DraftLimits(slots=50)).run(server.context, RULES, timedelta(days=7))
    assert outcome.result is None
    assert re.match(
        r"it would evaluate [\d,]+ slots, and at most 50 are replayed here: .* coarser `every`", outcome.refusal
    )
    longer = DraftBacktester(DraftLimits(slots=50)).run(server.context, RULES, timedelta(days=90))
    assert longer.refusal == outcome.refusal, "another length of time would not help"


def test_the_newest_alarms_alone_are_handed_over_and_all_are_counted(server: ApiServer) -> None:
    every = DraftBacktester().run(server.context, RULES, timedelta(days=7)).result
    cut = DraftBacktester(DraftLimits(alarms=1)).run(server.context, RULES, timedelta(days=7)).result
    assert every is not None
    assert cut is not None
    assert (cut.rules, cut.alarms) == (every.rules, every.alarms[-1:])


def test_a_process_that_fails_is_no_lack_of_memory_and_its_words_are_logged(
    server: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    code = "import sys; sys.stdin.read(); sys.exit('no such module')"
    backtester = DraftBacktester(command=(sys.executable, "-c", code))
    outcome = backtester.run(server.context, RULES, timedelta(days=7))
    assert "ended with code 1" in outcome.refusal
    assert "MiB" not in outcome.refusal
    assert "no such module" in caplog.text


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.kill(os.getpid(), 9)",
        "import os; os.kill(os.getpid(), 11)",
        "import os; os.abort()",
        "raise MemoryError",
        "import sys; sys.exit('ImportError: libtorch_cpu.so: failed to map segment from shared object')",
        "import sys; sys.exit('OSError: [Errno 12] Cannot allocate memory')",
    ],
)
def test_however_a_process_says_that_memory_ran_out_it_is_told_so(server: ApiServer, code: str) -> None:
    ended = DraftBacktester(command=(sys.executable, "-c", code)).run(server.context, RULES, timedelta(days=7))
    assert "1024 MiB" in ended.refusal


def test_a_fault_that_a_library_made_of_missing_memory_is_told_as_memory(server: ApiServer) -> None:
    code = (
        "from mlplatform.errors import SettingsError\n"
        "from mlplatform.monitoring.backtest import draft_backtest\n"
        "def fail(*args, **kwargs): raise SettingsError('the database is of a newer version')\n"
        "draft_backtest.run_backtest = draft_backtest.create_context = fail\n"
        "draft_backtest.main()\n"
    )
    backtester = DraftBacktester(DraftLimits(memory_mb=16), (sys.executable, "-c", code))
    assert "16 MiB" in backtester.run(server.context, RULES, timedelta(days=7)).refusal
    roomy = DraftBacktester(command=(sys.executable, "-c", code))
    assert "newer version" in roomy.run(server.context, RULES, timedelta(days=7)).refusal


@pytest.mark.parametrize(
    ("limits", "told"),
    [(DraftLimits(seconds=0.1), "longer than 0.1 s"), (DraftLimits(memory_mb=16), "16 MiB")],
)
def test_a_replay_over_its_bounds_is_ended_with_advice(server: ApiServer, limits: DraftLimits, told: str) -> None:
    outcome = DraftBacktester(limits).run(server.context, RULES, timedelta(days=7))
    assert outcome.result is None
    assert told in outcome.refusal
    assert "platform alerts backtest" in outcome.refusal


def test_one_draft_is_replayed_at_a_time(server: ApiServer) -> None:
    backtester, outcomes = DraftBacktester(), list[DraftOutcome]()
    first = Thread(target=lambda: outcomes.append(backtester.run(server.context, RULES, timedelta(days=7))))
    first.start()

    def is_refused() -> bool:
        try:
            backtester.run(server.context, "", timedelta(days=7))
        except BusyError:
            return True
        return False

    eventually(is_refused)
    first.join()
    assert [outcome.result is not None for outcome in outcomes] == [True]
    assert backtester.run(server.context, "", timedelta(days=7)).problems


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"draft": "version: 1"}, "no period was given"),
        ({"draft": "version: 1", "period": "5000d"}, "there are: 7d, 30d, 90d"),
        ({"draft": "x" * 60_001, "period": "7d"}, "60001 characters"),
        ({"draft": "é" * 90_000, "period": "7d"}, "the form has 540"),
    ],
)
def test_a_form_that_is_none_of_the_pages_is_refused(
    server: ApiServer, client: httpx.Client, form: dict[str, str], told: str
) -> None:
    assert told in problem(client.post("/rules/backtest", data=form | form_token(server)), 422)


def test_whoever_may_see_the_rules_may_try_a_draft_and_nobody_else(lite: AppContext) -> None:
    server = guarded(with_rules(lite))
    text, label = key(server, "audit"), key(server, "review", "predict", name="eve")
    form = {"draft": "version: 1", "period": "7d"}
    with running(server) as client:
        assert client.get("/rules", headers=shown(label, "basic")).status_code == 403
        token = form_token(server, holder(label, "eve"))
        assert client.post("/rules/backtest", data=form | token, headers=shown(label, "basic")).status_code == 403
        token = form_token(server, holder(text))
        allowed = client.post("/rules/backtest", data=form | token, headers=shown(text, "basic"))
    assert allowed.status_code == 200
    assert "The draft cannot be used:" in allowed.text
