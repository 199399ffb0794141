"""Labels from files: whole or not at all, each bad line named, and the same file twice changes nothing."""

import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mlplatform.context import AppContext
from mlplatform.errors import InvalidInputError
from mlplatform.feedback import label_records
from mlplatform.feedback.label_import import (
    BATCH_SIZE,
    MAX_SHOWN_LINES,
    Defaults,
    import_labels,
    preview_import,
    read_label_file,
)
from mlplatform.feedback.label_ingestion import record_labels
from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.predictions import sampling_plans
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.retention.apply_retention import erase_client
from tests.support.label_rows import an_id, current
from tests.support.platform_world import START, FakeClock, prediction, recorded

pytestmark = pytest.mark.both_databases


def csv_of(folder: Path, *lines: str, header: str = "prediction_id,label,source,reviewer,at") -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return path


def imported(context: AppContext, path: Path, source: str = "", reviewer: str = "") -> dict[str, int]:
    told = import_labels(context, read_label_file(context, path, Defaults(source, reviewer)))
    return {name: count for name, count in told.items() if count}


def test_a_file_is_taken_once_with_its_givers_sources_and_times(context: AppContext, tmp_path: Path) -> None:
    one, two = recorded(context.database, prediction(), prediction(seed=1))
    path = csv_of(tmp_path, f"{one},4,audit,ann,2026-01-01T10:00:00Z", f"{two},5,delayed,,")
    assert imported(context, path) == {"lines": 2, "recorded": 2}
    assert imported(context, path) == {"lines": 2, "repeated": 2}
    with context.database.read() as connection:
        [label] = label_records.current_labels(connection, one)
    assert (label.label, label.source, label.at.hour) == ("4", "audit", 10)


def test_the_key_of_an_imported_line_never_changes(context: AppContext, tmp_path: Path) -> None:
    path = csv_of(tmp_path, "01890000-0000-7000-8000-000000000001,4", header="prediction_id,label")
    [line] = read_label_file(context, path, Defaults("delayed", "ledger"))
    digest = "26f8a70c73b7572733d1bce3779076b3106a3a992567b4698307f91d343ab46b"
    assert line.label.key == f"file:{digest}:2", "files imported by earlier versions would be taken twice"


def test_json_lines_say_the_same(context: AppContext, tmp_path: Path) -> None:
    [one] = recorded(context.database, prediction())
    path = tmp_path / "labels.jsonl"
    rows = [{"prediction_id": one, "label": "4", "idempotency_key": "k"}, {"prediction_id": an_id(), "label": "1"}]
    path.write_text("\n\n".join(map(json.dumps, rows)))
    assert imported(context, path, "delayed", "ledger") == {"lines": 2, "recorded": 1, "waiting": 1}
    assert imported(context, path, "delayed", "ledger") == {"lines": 2, "repeated": 1, "waiting": 1}


def test_every_bad_line_is_named_and_none_is_taken(context: AppContext, tmp_path: Path) -> None:
    [one] = recorded(context.database, prediction())
    bad = [
        f"{one},x,audit,ann,",
        f"{one},4,model,ann,",
        f"{one},4,audit,digits,",
        f"{one},4,audit,ann,yesterday",
        f"{one},4,audit,ann,2031-01-01T10:00:00Z",
        ",4,audit,ann,",
        f"{one},4,,ann,",
    ]
    path = csv_of(tmp_path, f"{one},4,audit,ann,", *bad)
    with pytest.raises(InvalidInputError) as refused:
        read_label_file(context, path, Defaults())
    said = str(refused.value).splitlines()
    assert said[0] == "7 of 8 lines cannot be taken, so none was:"
    assert [line.split(":")[1] for line in said[1:]] == [str(number) for number in range(3, 10)]
    for words, line in zip(
        ("not a class", "source", "is a model", "at", "future", "prediction_id", "no source"), said[1:], strict=True
    ):
        assert words in line
    assert current(context, one) == []


def test_a_column_nobody_knows_is_refused_such_as_the_models_own_answer(context: AppContext, tmp_path: Path) -> None:
    path = csv_of(tmp_path, f"{an_id()},4,audit,4", header="prediction_id,label,source,predicted")
    with pytest.raises(InvalidInputError, match="predicted"):
        read_label_file(context, path, Defaults())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[" * 100_000, "is not JSON"),
        ('{"a":' * 100_000, "is not JSON"),
        ("9" * 5000, "is not JSON"),
        ('{"prediction_id": ' + "[" * 900 + "]" * 900 + "}", "prediction_id: Input should be a valid string"),
        ("{" + ",".join(f'"k{number}": 1' for number in range(100_000)) + "}", "unknown field 'k0'"),
        ('{"' + "k" * 10**6 + '": 1}', "unknown field 'kkk"),
        ('{"prediction_id": "p", "label": "\\ud800"}', "label: "),
    ],
    ids=["lists", "objects", "digits", "nested value", "keys", "long key", "half character"],
)
def test_a_line_that_no_parser_should_follow_is_named_shortly(
    context: AppContext, tmp_path: Path, line: str, words: str
) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(InvalidInputError) as caught:
        imported(context, path, "delayed")
    assert words in str(caught.value)
    assert len(str(caught.value).replace(str(tmp_path), "")) < 500


def test_many_bad_lines_are_counted_beyond_those_shown(context: AppContext, tmp_path: Path) -> None:
    path = csv_of(tmp_path, *[",,,,x"] * (MAX_SHOWN_LINES + 5))
    with pytest.raises(InvalidInputError, match=r"\.\.\. and 5 more"):
        read_label_file(context, path, Defaults())


def test_unknown_predictions_are_named_by_line_and_nothing_is_taken(context: AppContext, tmp_path: Path) -> None:
    [one] = recorded(context.database, prediction())
    path = csv_of(tmp_path, f"{one},4,audit,ann,", "nobody,4,audit,ann,")
    with pytest.raises(InvalidInputError, match="line 3: nobody"):
        imported(context, path)
    assert current(context, one) == []


def test_a_rehearsal_counts_and_writes_nothing(context: AppContext, tmp_path: Path) -> None:
    [one] = recorded(context.database, prediction())
    path = csv_of(tmp_path, *(f"{key},4,audit,ann," for key in (one, an_id(), "nobody")))
    told = preview_import(context, read_label_file(context, path, Defaults()))
    assert told == {"lines": 3, "known": 1, "waiting": 1, "unknown": 1}
    assert current(context, one) == []


def test_a_file_larger_than_a_portion_is_taken_whole(context: AppContext, tmp_path: Path) -> None:
    ids = recorded(context.database, *(prediction(seed=seed % 5) for seed in range(BATCH_SIZE + 10)))
    path = csv_of(tmp_path, *(f"{key},4,delayed,," for key in ids))
    assert imported(context, path) == {"lines": BATCH_SIZE + 10, "recorded": BATCH_SIZE + 10}


@pytest.mark.parametrize("content", [b"\xff\xfe", b'{"a": 1}\n[1]\n', b"{\n"])
def test_what_is_no_such_file_is_refused(context: AppContext, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError):
        read_label_file(context, path, Defaults("audit"))
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_label_file(context, tmp_path / "none.csv", Defaults())


def test_two_lines_that_contradict_each_other_are_refused_by_line(context: AppContext, tmp_path: Path) -> None:
    [one] = recorded(context.database, prediction())
    path = csv_of(tmp_path, f"{one},4,audit,ann,", f"{one},4,audit,ann,", f"{one},5,audit,ann,", f"{one},6,audit,bob,")
    with pytest.raises(InvalidInputError, match=r"1 of 4 lines(.|\n)*:4: label '5' .* contradicts '4' on line 2"):
        imported(context, path)
    same = csv_of(tmp_path, f"{one},4,audit,ann,2026-01-01T10:00:00Z", f"{one},5,audit,ann,2026-01-01T10:00:00Z")
    with pytest.raises(InvalidInputError, match="say in `at` when each was given"):
        imported(context, same)
    assert current(context, one) == []


def test_a_file_that_tells_when_a_label_changed_is_taken_once_and_changes_nothing_again(
    context: AppContext, clock: FakeClock, tmp_path: Path
) -> None:
    [one] = recorded(context.database, prediction())
    path = csv_of(tmp_path, f"{one},4,audit,ann,2026-01-01T10:00:00Z", f"{one},5,audit,ann,")
    assert imported(context, path) == {"lines": 2, "recorded": 1, "superseded": 1}
    clock.tick(hours=1)
    assert imported(context, path) == {"lines": 2, "repeated": 2}
    assert current(context, one) == ["5"]


def test_a_file_sent_again_does_not_undo_what_came_since(context: AppContext, clock: FakeClock, tmp_path: Path) -> None:
    [one] = recorded(context.database, prediction())
    path = csv_of(tmp_path, f"{one},4,audit,ann,")
    imported(context, path)
    clock.tick(hours=1)
    record_labels(context, [SubmittedLabel(one, "5", "audit", "ann", clock())])
    clock.tick(hours=1)
    assert imported(context, path) == {"lines": 1, "repeated": 1}
    assert current(context, one) == ["5"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", ""),
        ("labels.csv", "prediction_id,label,source\n"),
        ("labels.csv", "\n\n\n"),
        ("labels.jsonl", ""),
        ("labels.jsonl", "\n \n"),
    ],
)
def test_a_file_without_labels_is_an_error(context: AppContext, tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInputError, match="holds no labels"):
        imported(context, tmp_path / name, "audit")


def test_a_column_or_a_key_that_comes_twice_is_refused(context: AppContext, tmp_path: Path) -> None:
    path = csv_of(tmp_path, f"{an_id()},4,5", header="prediction_id,label,label")
    with pytest.raises(InvalidInputError, match="several columns 'label'"):
        imported(context, path, "audit")
    path = tmp_path / "labels.jsonl"
    path.write_text(f'{{"prediction_id": "{an_id()}", "label": "4", "label": "5"}}\n')
    with pytest.raises(InvalidInputError, match="'label' is said twice"):
        imported(context, path, "audit")


def test_a_line_with_more_values_than_columns_is_refused(context: AppContext, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r":2: more values than columns"):
        imported(context, csv_of(tmp_path, f"{an_id()},4,audit,ann,,9"))


def test_a_line_nested_without_end_is_refused(context: AppContext, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text('{"label": ' + "[" * 100_000)
    with pytest.raises(InvalidInputError, match="this line is not JSON"):
        imported(context, path, "audit")


@pytest.mark.parametrize("at", ["1970-01-01T00:00:00Z", "2025-12-30T00:00:00Z"])
def test_a_time_long_before_the_prediction_is_refused_by_line(context: AppContext, tmp_path: Path, at: str) -> None:
    [one] = recorded(context.database, prediction())
    path = csv_of(tmp_path, f"{one},4,audit,ann,", f"{one},4,audit,bob,{at}", f"{an_id()},4,audit,bob,{at}")
    lines = read_label_file(context, path, Defaults())
    for act in (import_labels, preview_import):
        with pytest.raises(InvalidInputError) as refused:
            act(context, lines)
        said = str(refused.value).splitlines()
        assert said[0] == "2 of 3 lines cannot be taken, so none was:"
        assert [line.partition(":")[0] for line in said[1:]] == ["line 3", "line 4"]
        assert all(f"is given at {at[:10]} 00:00 UTC" in line for line in said[1:])
    assert current(context, one) == []


def test_lines_about_erased_predictions_are_counted_and_hold_nothing_up(context: AppContext, tmp_path: Path) -> None:
    gone, other = an_id(), prediction(seed=1)
    recorded(context.database, prediction(prediction_id=gone))
    [one] = recorded(context.database, PredictionWithInput(replace(other.prediction, client_id="bob"), other.input))
    erase_client(context, "client", "dpo")
    lines = read_label_file(context, csv_of(tmp_path, f"{gone},4,audit,ann,", f"{one},4,audit,ann,"), Defaults())
    assert preview_import(context, lines) == {"lines": 2, "known": 1, "waiting": 0, "unknown": 0, "erased": 1}
    told = import_labels(context, lines)
    assert (told["recorded"], told["erased"]) == (1, 1)


def test_audit_labels_of_answers_nobody_drew_are_counted(context: AppContext, tmp_path: Path) -> None:
    [one] = recorded(context.database, prediction(START + timedelta(hours=1)))
    with context.database.write() as connection:
        sampling_plans.publish(connection, "digits", 1, {"uniform": 0.5, "strata": {}}, START)
    assert imported(context, csv_of(tmp_path, f"{one},4,audit,ann,")) == {
        "lines": 1,
        "recorded": 1,
        "not drawn for audit": 1,
    }


def test_what_has_no_end_or_can_be_read_once_only_is_refused(context: AppContext, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (Path("/dev/zero"), tmp_path / "pipe.csv"):
        with pytest.raises(InvalidInputError, match="no file, but a pipe or a device"):
            read_label_file(context, path, Defaults())
