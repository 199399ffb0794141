"""What use has shown of a version, on its card."""

import pytest

from mlplatform.context import AppContext
from mlplatform.feedback import label_records
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.operations.operator_actions import diff_model_cards, load_model_card
from mlplatform.operations.production_record import production_record
from registry.runs import TrackingStore
from tests.support.monitoring_world import answer, promote, rule, with_rules
from tests.support.platform_world import FakeCatalog, prediction, recorded

pytestmark = pytest.mark.both_databases


class Shelf(TrackingStore):
    """A run's card for each run."""

    def __init__(self, cards: dict[str, str]) -> None:
        self.cards = cards

    def read_text(self, run_id: str, name: str) -> str | None:
        return self.cards.get(run_id)


@pytest.fixture
def world(context: AppContext) -> AppContext:
    promote(with_rules(context))
    cards = {"run-1": "# digits\n\nOne.\n\n## Ethical considerations\n\nNone.\n", "run-2": "# digits\n\nTwo.\n"}
    return context.replace(tracking=Shelf(cards))


def test_a_version_that_never_answered_has_nothing_to_show(world: AppContext) -> None:
    assert production_record(world, 1) is None
    assert production_record(world, 2) is None
    assert load_model_card(world, 1) == "# digits\n\nOne.\n\n## Ethical considerations\n\nNone.\n"


def test_the_card_counts_answers_and_labels_by_how_they_came(world: AppContext) -> None:
    answer(world, 18, 2)
    ids = recorded(world.database, prediction(world.clock(), label="5", seed=9))
    with world.database.write() as connection:
        label_records.insert_labels(
            connection, [label_records.SubmittedLabel(ids[0], "3", "correction", "ada", world.clock())], world.clock()
        )
    measured = production_record(world, 1)
    assert measured is not None
    assert "gave 21 answers; it is champion" in measured.note
    assert "No alert is open." in measured.note
    audit, correction = measured.rows
    assert audit[:5] == ("audit", "20", "0.9000", "0.9000", "0.6830 to 0.9877")
    assert correction[:3] == ("correction", "1", "0.0000")
    assert "estimates nothing" in correction[5]


def test_the_section_stands_before_the_ethics_and_is_read_anew_each_time(world: AppContext) -> None:
    answer(world, 5)
    first = load_model_card(world, 1)
    assert first.index("## In production") < first.index("## Ethical considerations")
    answer(world, 5)
    assert "gave 5 answers" in first
    assert "gave 10 answers" in load_model_card(world, 1)


def test_open_alerts_of_the_champion_are_named(world: AppContext) -> None:
    answer(world, 18, 12)
    evaluate(world, rule(world, "accuracy-drop"), world.clock())
    measured = production_record(world, 1)
    assert measured is not None
    assert "Open alerts: accuracy-drop." in measured.note


def test_a_version_that_serves_no_more_says_so_and_answers_without_labels_are_told(world: AppContext) -> None:
    recorded(world.database, prediction(world.clock(), seed=3))
    promote(world, 2)
    measured = production_record(world, 1)
    assert measured is not None
    assert "it is not champion" in measured.note
    assert "No label has come yet." in measured.note
    assert measured.rows == ()


def test_the_difference_of_two_cards_names_both_versions(world: AppContext) -> None:
    assert isinstance(world.catalog, FakeCatalog)
    world.catalog.add("digits", 2)
    changed = diff_model_cards(world, 1, 2).splitlines()
    assert changed[:2] == ["--- version 1", "+++ version 2"]
    assert {"-One.", "+Two."} <= set(changed)
    assert diff_model_cards(world, 2, 2) == "the cards of versions 2 and 2 say the same"
