"""A model whose newest version knows one class more: what versions before it answered stays readable and is judged."""

from dataclasses import replace
from datetime import timedelta

import pytest

from mlplatform.context import AppContext
from mlplatform.errors import ConflictError
from mlplatform.feedback.label_ingestion import record_labels
from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.feedback.review_tasks import ReviewLabel, submit_labels
from mlplatform.monitoring.backtest.backtest import run_backtest
from mlplatform.monitoring.evaluation_report import measure_with_evidently, write_report
from mlplatform.operations.queries import load_prediction
from mlplatform.promotion.rollout_service import begin_rollout
from mlplatform.serve.api_server import build_server
from mlplatform.settings import Settings
from mlplatform.web.overview import overview_page
from registry.errors import CorruptModelError
from registry.model_contract import image_classifier
from tests.support.api_server import loaded, predict, running
from tests.support.monitoring_world import answer, look, promote, rule, tick, with_rules
from tests.support.platform_world import FakeCatalog, picture, prediction, recorded
from tests.support.version_folder import DIGITS

GAINED = image_classifier((*DIGITS.classes, "none"), 28, 28)


def gaining(context: AppContext) -> AppContext:
    """Version 1 has served; version 2 knows the class "none" as well."""
    assert isinstance(context.catalog, FakeCatalog)
    context.catalog.contracts["digits", 2] = GAINED
    promote(with_rules(context), 1)
    tick(context, minutes=1)
    return context


def test_what_the_version_before_answered_is_read_judged_and_reported_as_it_was_made(context: AppContext) -> None:
    gaining(context)
    ids = answer(context, 20, 30)
    before = look(context)
    assert before is not None
    assert before.state == "breach"
    promote(context, 2)
    tick(context, minutes=1)
    shown = load_prediction(context, ids[0])
    assert (list(shown.probabilities), shown.label) == (list(DIGITS.classes), "3")
    # The truth may be a class that the version did not know: then it was wrong, and the label is taken.
    submit_labels(context, [ReviewLabel(ids[1], "none")], "ada")
    late = SubmittedLabel(ids[2], "none", "correction", "client", context.clock())
    assert [receipt.outcome for receipt in record_labels(context, [late])] == ["recorded"]
    # The version that serves now is judged on eleven classes.
    wider = prediction(context.clock(), label="3", version=2)
    row = replace(wider, prediction=replace(wider.prediction, probabilities=[*wider.prediction.probabilities, 0.0]))
    [newest] = recorded(context.database, row)
    record_labels(context, [SubmittedLabel(newest, "none", "audit", "ada", context.clock())])
    tick(context, minutes=1)
    for name in ("accuracy-drop", "class-error", "latency"):
        made = look(context, name)
        assert made is not None
        assert made.model_version == 2
        write_report(context, rule(context, name), made, measure_with_evidently)
    assert load_prediction(context, newest).probabilities["none"] == 0.0
    assert "digits" in overview_page(context)
    assert run_backtest(context, context.rules, timedelta(days=1)).model == "digits"


def test_a_going_back_is_judged_with_labels_of_the_class_that_came_between(context: AppContext) -> None:
    gaining(context)
    promote(context, 2)
    tick(context, minutes=1)
    promote(context, 1)
    tick(context, minutes=1)
    ids = answer(context, 30)
    record_labels(context, [SubmittedLabel(key, "none", "audit", "ada", context.clock()) for key in ids[:25]])
    tick(context, minutes=1)
    made = look(context, "class-error")
    assert made is not None
    assert made.model_version == 1
    assert any(finding["key"] == "none" and finding["state"] == "breach" for finding in made.findings)


def test_the_contract_of_a_version_is_pinned_with_its_promotion(context: AppContext) -> None:
    gaining(context)
    with context.database.write() as connection:
        assert context.contracts.label_rules(connection, "digits").classes == DIGITS.classes
        with pytest.raises(CorruptModelError, match="version 1 was promoted with contract"):
            context.contracts.pin(connection, GAINED, "digits", 1, context.clock())
    assert isinstance(context.catalog, FakeCatalog)
    context.catalog.away = OSError("gone")
    with context.replace(catalog=context.catalog).database.read() as connection:
        assert context.contracts.of(connection, "digits", 1) == DIGITS


def test_a_version_that_takes_other_inputs_is_not_tried_beside_the_champion(context: AppContext) -> None:
    gaining(context)
    assert isinstance(context.catalog, FakeCatalog)
    context.catalog.contracts["digits", 3] = image_classifier(DIGITS.classes, 12, 12)
    context.catalog.add("digits", 3)
    with pytest.raises(ConflictError, match="version 3 takes other inputs than champion 1"):
        begin_rollout(context, 3, "shadow", 0.0, "ada", "to see")
    assert picture(0).shape == (28, 28)


def elsewhere(settings: Settings) -> Settings:
    """A pipeline whose code is not here."""
    return settings.model_copy(update={"pipeline": "no_such.models:PIPELINE", "model": "digits"})


def test_a_watcher_judges_a_model_whose_pipeline_cannot_be_imported(context: AppContext) -> None:
    world = gaining(context.replace(settings=elsewhere(context.settings)))
    answer(world, 20, 30)
    made = look(world)
    assert made is not None
    assert made.state == "breach"


def test_a_server_answers_for_a_model_whose_pipeline_cannot_be_imported(lite: AppContext) -> None:
    server = build_server(lite.replace(settings=elsewhere(lite.settings)))
    server.model_slot.swap(loaded(1))
    with running(server) as client:
        [made] = predict(client)
        assert client.post("/v1/feedback", json={"prediction_id": made, "label": "4"}).status_code < 300
