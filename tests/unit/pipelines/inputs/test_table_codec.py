"""Rows of a table: their canonical form, what is read from JSON, and the sentence for what does not fit."""

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.batch import Batch
from pipelines.errors import DataError
from pipelines.input_row import InputRow
from pipelines.inputs.codec_of import codec_of
from pipelines.inputs.input_codec import InputCodec
from pipelines.inputs.row_parser import ParsedRows, RowParser, count_keys, parse_pairs
from pipelines.inputs.table_codec import TableCodec
from registry.model_contract import Column, TableInputs
from tests.support.input_codec_contract import InputCodecContract

COLUMNS = (
    Column("age", "number", optional=False, low=18, high=99),
    Column("visits", "whole"),
    Column("member", "yes-no"),
    Column("plan", "category", known=("gold", "free")),
    Column("a note: long", "text"),
    Column("since", "time"),
)
CODEC = TableCodec(COLUMNS)
PARSER = RowParser(CODEC)
FULL = {"age": 41, "visits": 3, "member": True, "plan": "gold", "a note: long": "a: b", "since": "1970-01-02"}


class TestTableCodec(InputCodecContract):
    def codec(self) -> InputCodec:
        return codec_of(TableInputs(COLUMNS))

    def drawn(self, count: int) -> Batch:
        rows = [{**FULL, "age": 20.5 + place, "plan": ("gold", "free", None)[place % 3]} for place in range(count)]
        return PARSER.read_objects(rows).batch

    def pack(self, row: InputRow) -> bytes:
        return row.content


def read_fast(rows: list[dict[str, Any]]) -> ParsedRows | None:
    """The rows as msgspec reads them; None where it leaves them to the careful way."""
    structs = msgspec.json.decode(json.dumps(rows).encode(), type=list[PARSER.row_type])  # type: ignore[name-defined]
    result = PARSER.read(structs)
    return None if result is None else result[0]


def test_a_row_is_the_json_of_its_values_behind_a_digest_of_its_columns() -> None:
    [row] = PARSER.read_objects([FULL]).rows
    assert row == InputRow("row:952db35aa71ff65b", b'[41.0,3.0,1.0,"gold","a: b",86400.0]')
    assert row.content_hash == "32642e6b6e4c98bf8e2504706464b9da065e431320bf2019cfda7c49d14b02a7"
    assert CODEC.rows(CODEC.unpack([row.content])) == [row]
    assert CODEC.to_record(row.content) == {**FULL, "since": 86400.0}


def test_the_form_follows_names_and_kinds_and_nothing_else() -> None:
    known = (Column("age", "number", optional=True, low=0), *COLUMNS[1:])
    assert TableCodec(known).form == CODEC.form
    assert TableCodec(COLUMNS[::-1]).form != CODEC.form
    assert TableCodec((Column("age", "whole"), *COLUMNS[1:])).form != CODEC.form


def test_a_missing_value_is_null_whether_it_is_left_out_or_null() -> None:
    absent, null = {"age": 1}, dict.fromkeys(FULL) | {"age": 1}
    for parsed in (PARSER.read_objects([absent, null]), read_fast([absent, null])):
        assert parsed is not None
        assert [row.content for row in parsed.rows] == [b"[1.0,null,null,null,null,null]"] * 2
        assert CODEC.rows(parsed.batch) == parsed.rows
        assert np.isnan(parsed.batch.array("visits")).all()
        assert parsed.batch.array("plan").tolist() == [None, None]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**FULL, "age": "x"}, "rows[1].age: 'x' is no number; give a number"),
        ({**FULL, "age": True}, "rows[1].age: True is no number; give a number"),
        ({**FULL, "age": 10**400}, "is not finite; give a number"),
        ({**FULL, "age": None}, "rows[1].age is null; give a number"),
        ({"plan": "gold"}, "rows[1].age is missing; give a number"),
        ({**FULL, "visits": 1.5}, "rows[1].visits: 1.5 is no whole number; give a whole number of at most"),
        ({**FULL, "visits": 2**53 + 1}, "is too large to be held exactly"),
        ({**FULL, "member": 2}, "rows[1].member: 2 is neither true nor false; give true or false or null"),
        ({**FULL, "plan": 3}, "rows[1].plan: 3 is no text; give a text or null"),
        ({**FULL, "plan": ["gold"]}, "rows[1].plan: list is no text"),
        ({**FULL, "plan": "\ud800"}, "holds half a character"),
        ({**FULL, "since": "yesterday"}, "rows[1].since: 'yesterday' is no time; give an ISO 8601 text or seconds"),
        ({**FULL, "height": 3}, "rows[1]: 'height' is no column of this model; it takes age, visits, member"),
        ([1, 2], "rows[1] is no object; give one with a value for each column"),
    ],
)
def test_what_does_not_fit_is_refused_by_row_and_column(row: object, message: str) -> None:
    with pytest.raises(DataError) as refused:
        PARSER.read_objects([FULL, row])
    assert message in str(refused.value)


def test_a_key_that_is_given_twice_is_refused() -> None:
    with pytest.raises(DataError, match=r"rows\[0\].age is given twice; give it once"):
        PARSER.read_objects(parse_pairs(b'[{"age": 1, "age": 2}]'))  # type: ignore[arg-type]


@pytest.mark.parametrize("visits", [2**53, -(2**53), 2**53 - 1, 1e15])
def test_whole_numbers_are_taken_as_far_as_each_is_one_of_its_own(visits: float) -> None:
    assert PARSER.read_objects([{**FULL, "visits": visits}]).batch.array("visits").tolist() == [float(visits)]
    fast = read_fast([{**FULL, "visits": visits}])
    assert (fast is None) == (abs(visits) == 2**53)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:10", 10.0),
        ("1970-01-01T00:00:10Z", 10.0),
        ("1970-01-01T01:00:10.5+01:00", 10.5),
        ("1969-12-31", -86400.0),
        (12.25, 12.25),
    ],
)
def test_times_are_seconds_of_utc(text: object, seconds: float) -> None:
    for parsed in (PARSER.read_objects([{"age": 1, "since": text}]), read_fast([{"age": 1, "since": text}])):
        assert parsed is not None
        assert parsed.batch.array("since").tolist() == [seconds]


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        (b'{"a":1,"b":[{"c":2}]}', 3),
        (b'{"a" : 1, "a": 2}', 2),
        (b'{"a:b":":","c":"12:30"}', 2),
        (b'{"a\\":\\"b":"\\\\"}', 1),
        (b"[]", 0),
    ],
)
def test_keys_are_counted_whatever_texts_hold(body: bytes, keys: int) -> None:
    assert count_keys(body) == keys


@pytest.mark.parametrize("body", [b"[NaN]", b"[-Infinity]", b"[", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_pairs(body)


def test_what_is_not_kept_is_answered_and_not_written_down() -> None:
    codec = TableCodec((Column("age", "number"), Column("name", "text", kept=False)))
    parsed = RowParser(codec).read_objects([{"age": 1, "name": "Ada"}])
    assert parsed.batch.array("name").tolist() == ["Ada"]
    assert [row.content for row in codec.rows(parsed.batch)] == [row.content for row in parsed.rows] == [b"[1.0,null]"]
    assert (codec.identifies, CODEC.identifies) == (False, True)


def test_a_kept_row_of_other_columns_is_refused() -> None:
    with pytest.raises(DataError, match="a kept row has 1 values, the model takes 6 columns"):
        CODEC.unpack([b"[1.0]"])


def test_drift_is_measured_by_value_name_and_length() -> None:
    measures = CODEC.measures(PARSER.read_objects([FULL, {"age": 3}]).batch)
    assert list(measures) == ["age", "visits", "member", "plan", "a note: long"]
    assert measures["plan"].tolist() == ["gold", ""]
    assert measures["a note: long"].tolist()[0] == 4.0


NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**25), 10**25)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
ROWS = st.fixed_dictionaries(
    {"age": NUMBERS},
    optional={
        "visits": st.integers(-(2**53), 2**53) | st.none(),
        "member": st.booleans() | st.none(),
        "plan": TEXTS | st.none(),
        "a note: long": TEXTS | st.none(),
        "since": NUMBERS | st.datetimes().map(str) | st.none(),
    },
)


@given(st.lists(ROWS, min_size=1, max_size=4))
def test_both_ways_read_the_same_rows_and_what_is_kept_gives_them_back(rows: list[dict[str, Any]]) -> None:
    careful, fast = PARSER.read_objects(rows), read_fast(rows)
    if fast is not None:
        assert fast.rows == careful.rows
    again = CODEC.unpack([row.content for row in careful.rows])
    assert CODEC.rows(again) == CODEC.rows(careful.batch) == careful.rows
    for row, sent in zip(careful.rows, rows, strict=True):
        assert row.content == json.dumps(json.loads(row.content), ensure_ascii=False, separators=(",", ":")).encode()
        kept = CODEC.to_record(row.content)
        assert kept["age"] == float(sent["age"])
        assert math.copysign(1, kept["age"]) > 0 or kept["age"] != 0
        for name in ("visits", "member", "plan", "a note: long"):
            assert kept[name] == sent.get(name)


@given(st.lists(ROWS, max_size=3))
def test_every_key_of_a_text_is_counted(rows: list[dict[str, Any]]) -> None:
    for spaces in (None, 2):
        for escaped in (True, False):
            text = json.dumps(rows, indent=spaces, ensure_ascii=escaped).encode()
            assert count_keys(text) == sum(map(len, rows))
