"""The gravest misreadings of a window."""

from datetime import datetime, timedelta

import pytest

from mlplatform.context import AppContext
from mlplatform.feedback import label_records
from mlplatform.feedback.label_precedence import LabelSource
from mlplatform.feedback.worst_errors import WorstError, worst_errors
from mlplatform.store.database import Database
from mlplatform.store.tables.alerting import baselines
from mlplatform.store.version_contracts import VersionContracts
from registry.errors import RegistryError
from tests.support.platform_world import START, DigitContracts, FakeCatalog, prediction, recorded
from tests.support.table_world import answer_rows, promote_table

pytestmark = pytest.mark.both_databases

END = START + timedelta(hours=1)
CONTRACTS = DigitContracts(FakeCatalog)


def given(
    database: Database,
    truth: str,
    label: str,
    confidence: float,
    seed: int,
    at: datetime = START,
    source: LabelSource = "audit",
    version: int = 1,
) -> str:
    """One labelled answer; returns its id."""
    row = prediction(at, seed=seed, label=label, confidence=confidence, version=version)
    [key] = recorded(database, row)
    with database.write() as connection:
        label_records.insert_labels(connection, [label_records.SubmittedLabel(key, truth, source, "ann", at)], at)
    return key


def worst(
    database: Database, truth: str | None = None, most: int = 6, sources: tuple[str, ...] = ("audit",)
) -> list[WorstError]:
    with database.read() as connection:
        return worst_errors(connection, CONTRACTS, "digits", 1, truth, START, END, sources, most)


def test_the_most_confident_errors_come_first_with_their_pictures(database: Database) -> None:
    keys = [given(database, "3", "5", confidence, seed) for seed, confidence in enumerate((0.6, 0.9, 0.7))]
    given(database, "3", "3", 0.99, 9)
    found = worst(database, most=2)
    assert [(each.prediction_id, each.truth, each.label, each.confidence) for each in found] == [
        (keys[1], "3", "5", 0.9),
        (keys[2], "3", "5", 0.7),
    ]
    assert all(each.png is not None and each.png.startswith(b"\x89PNG") for each in found)
    assert found[0].png != found[1].png


def test_one_class_is_asked_for_by_its_truth(database: Database) -> None:
    given(database, "3", "5", 0.9, 1)
    given(database, "5", "3", 0.8, 2)
    assert [each.truth for each in worst(database, "5")] == ["5"]
    assert worst(database, "8") == []


def test_only_the_version_the_window_and_the_sources_asked_for_count(database: Database) -> None:
    given(database, "3", "5", 0.9, 1, version=2)
    given(database, "3", "5", 0.9, 2, at=START - timedelta(seconds=1))
    given(database, "3", "5", 0.9, 3, at=END)
    corrected = given(database, "3", "5", 0.9, 4, source="correction")
    assert worst(database) == []
    assert [each.prediction_id for each in worst(database, sources=("audit", "correction"))] == [corrected]


def test_a_picture_that_was_sent_often_is_shown_once(database: Database) -> None:
    for confidence in (0.90, 0.91, 0.92):
        given(database, "3", "5", confidence, 1)
    given(database, "3", "5", 0.5, 2)
    assert [each.confidence for each in worst(database, most=2)] == [0.92, 0.5]


def test_rows_of_a_table_are_shown_by_column_and_without_while_nobody_knows_the_columns(context: AppContext) -> None:
    promote_table(context)
    old, young = answer_rows(context, [(69.0, "gold"), (18.0, None)], START)
    with context.database.write() as connection:
        labels = [label_records.SubmittedLabel(key, "yes", "audit", "ann", START) for key in (old, young)]
        label_records.insert_labels(connection, labels, START)

    def found() -> dict[str, WorstError]:
        with context.database.read() as connection:
            window = (START, END, ("audit",), 6)
            errors = worst_errors(connection, contracts, "digits", 1, None, *window)
        return {error.prediction_id: error for error in errors}

    contracts = context.contracts
    shown = found()
    assert [(cell.name, cell.text) for cell in shown[old].cells] == [("age", "69"), ("plan", "gold")]
    assert [cell.is_missing for cell in shown[young].cells] == [False, True]
    assert (shown[old].png, shown[old].truth, shown[old].label) == (None, "yes", "no")

    away = FakeCatalog()
    away.away = RegistryError("MLflow is away")
    contracts = VersionContracts(lambda: away)
    with context.database.write() as connection:
        connection.execute(baselines.delete())  # where the contracts of versions that served are pinned
    assert {error.cells for error in found().values()} == {()}
