"""Values of a table's columns, counted by cell."""

import math
from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.inputs.column_counter import ColumnCounter, cells_of, with_profile
from pipelines.inputs.table_codec import TableCodec
from registry.column_profile import ColumnProfile
from registry.errors import ContractError
from registry.model_contract import Column, ModelContract, TableInputs
from registry.prediction_task import Classification


def numbers(*values: float | None) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


def names(*values: str | None) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def test_numbers_are_counted_between_quantiles_of_about_equally_many() -> None:
    values = np.arange(1000, dtype=np.float64)
    column = with_profile(Column("age", "number", low=0, high=999), values)
    assert column.profile is not None
    counts = column.profile.counts
    assert len(counts) == 32 + 3
    assert sum(counts) == 1000
    assert max(counts[:-3]) - min(counts[:-3]) <= 1
    assert counts[-3:] == (0, 0, 0)


def test_what_lies_outside_or_is_missing_has_cells_of_its_own() -> None:
    column = with_profile(Column("age", "number", low=0, high=99), np.arange(100, dtype=np.float64))
    cells = cells_of(column)
    later = cells.count([-1.0, -0.5, 0.0, 99.0, 99.5, None, None, None])
    assert later[-3:].tolist() == [2, 1, 3]
    assert later[:-3].sum() == 2
    assert (later[0], later[-4]) == (1, 1)
    assert cells.names[-3:] == ("below 0", "above 99", "missing")


def test_a_value_that_is_many_bins_worth_has_its_own_bin() -> None:
    values = np.concatenate([np.zeros(500), np.linspace(1, 100, 500)])
    column = with_profile(Column("debt", "number", low=0, high=100), values)
    cells = cells_of(column)
    assert cells.names[0] == "0"
    assert cells.count([0.0] * 7 + [0.5])[:2].tolist() == [7, 1]


def test_few_rows_make_few_bins() -> None:
    column = with_profile(Column("age", "number"), np.arange(9, dtype=np.float64))
    assert column.profile == ColumnProfile(counts=(9, 0, 0, 0))
    assert cells_of(column).names[0] == "any value"


def test_common_categories_are_counted_one_by_one_on_the_other_half_and_rare_ones_together() -> None:
    plans = ["gold"] * 200 + ["free"] * 100 + ["odd"] * 4 + [None, ""] * 20
    column = with_profile(Column("plan", "category", known=("free", "gold", "odd")), names(*plans))
    assert column.profile is not None
    assert column.profile.categories == ("gold", "free")
    gold, free, odd, unknown, missing = column.profile.counts
    assert (gold + free + odd + unknown + missing, unknown) == (len(plans) // 2, 0)
    assert abs(gold - 100) < 25
    assert abs(free - 50) < 20
    assert (odd <= 4, abs(missing - 20) < 12) == (True, True)
    assert cells_of(column).count(["free", "new", "odd", None, "", "gold"]).tolist() == [1, 1, 1, 1, 2]


def test_at_most_thirty_categories_are_counted_one_by_one() -> None:
    known = tuple(f"{n:02}" for n in range(60))
    column = with_profile(Column("shop", "category", known=known), names(*known * 50))
    assert column.profile is not None
    assert len(column.profile.categories) == 30
    assert column.profile.counts[-2:] == (0, 0)
    assert sum(column.profile.counts[:-3]) == pytest.approx(750, rel=0.2)


@pytest.mark.parametrize(("rows", "categories", "exponent"), [(1600, 400, 1.0), (500, 300, 0.5), (5000, 300, 0.0)])
def test_rows_of_the_same_kind_have_as_many_unknown_and_common_categories_as_the_profile_says(
    rows: int, categories: int, exponent: float
) -> None:
    """What is known, and what is common, comes from the rows whose counts are the reference: chosen, it is too good."""
    random = np.random.default_rng(5)
    chances = 1 / np.arange(1, categories + 1) ** exponent
    drawn = [
        random.choice(categories, size, p=chances / chances.sum()).astype(str).astype(object) for size in (rows, 40_000)
    ]
    known = tuple(dict.fromkeys(drawn[0]))
    column = with_profile(Column("shop", "category", known=known), drawn[0], known_from_values=True)
    assert column.profile is not None
    reference, later = np.array(column.profile.counts), cells_of(column).count(drawn[1].tolist())
    expected = later / later.sum() * reference.sum()
    for cell in (slice(-2, -1), slice(0, -3)):  # the unknown ones, and those that are counted one by one
        assert abs(reference[cell].sum() - expected[cell].sum()) <= 3 * max(1.0, expected[cell].sum()) ** 0.5


def test_yes_no_times_and_texts_have_cells_too() -> None:
    member = with_profile(Column("member", "yes-no"), numbers(1, 1, 0, None))
    assert cells_of(member).names[:2] == ("no", "yes")
    assert member.profile is not None
    assert member.profile.counts == (1, 2, 0, 0, 1)
    since = with_profile(Column("since", "time"), numbers(5, None, 7))
    assert since.profile == ColumnProfile(counts=(2, 0, 0, 1))
    note = with_profile(Column("note", "text"), names(*["a" * n for n in range(100)], None))
    assert note.profile is not None
    assert note.profile.counts[-1] == 1
    assert cells_of(note).count(["", "a" * 500, None])[:-3].sum() == 2


def test_values_that_may_not_be_kept_are_neither_profiled_nor_counted() -> None:
    hidden = Column("income", "number", kept=False)
    assert with_profile(hidden, numbers(1, 2, 3)).profile is None
    counter = ColumnCounter((hidden, Column("plan", "category", known=("gold",))))
    assert list(counter.cells) == ["plan"]
    assert counter.count([b'[null,"gold"]', b"[null,null]"]).tolist() == [1, 0, 1]


def test_counts_of_parts_add_up_to_counts_of_the_whole() -> None:
    columns = (
        with_profile(Column("age", "number", low=0, high=99), np.arange(100, dtype=np.float64)),
        with_profile(Column("plan", "category", known=("free", "gold")), names(*["free"] * 9, *["gold"] * 8)),
        Column("note", "text"),
    )
    counter, rng = ColumnCounter(columns), np.random.default_rng(5)
    rows = [
        orjson.dumps([None if rng.random() < 0.1 else rng.uniform(-9, 120), ["free", "gold", "new", None][n % 4], "a"])
        for n in range(300)
    ]
    whole = counter.count(rows)
    assert whole.tolist() == (counter.count(rows[:7]) + counter.count(rows[7:])).tolist()
    assert {name: int(part.sum()) for name, part in counter.split(whole).items()} == {
        "age": 300,
        "plan": 300,
        "note": 300,
    }
    assert counter.count([]).tolist() == [0] * counter.size


@pytest.mark.parametrize("content", [b"[1.0]", b'["old","gold"]', b"[1.0,2.0,3.0]"])
def test_what_is_no_row_of_these_columns_is_refused(content: bytes) -> None:
    counter = ColumnCounter((Column("age", "number"), Column("plan", "category", known=("gold",))))
    with pytest.raises(ValueError):  # noqa: PT011 - of NumPy, orjson or zip
        counter.count([content])


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=200),
    st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.none(), max_size=50),
)
def test_every_value_lies_in_exactly_one_cell(made_with: list[float], later: list[float | None]) -> None:
    column = with_profile(Column("x", "number", low=min(made_with), high=max(made_with)), np.array(made_with))
    cells = cells_of(column)
    assert column.profile is not None
    assert sum(column.profile.counts[:-3]) == len(made_with)
    for value in later:
        counts = cells.count([value])
        assert counts.sum() == 1
        place = int(counts.argmax()) - len(counts)
        if value is None:
            assert place == -1
        else:
            assert (place == -3) == (value < min(made_with))
            assert (place == -2) == (value > max(made_with))


def test_a_profile_travels_with_the_contract_and_old_contracts_have_none() -> None:
    plain = Column("age", "number", low=0, high=99)
    column = with_profile(plain, np.arange(100, dtype=np.float64))
    contract = ModelContract(TableInputs((column,)), Classification(("no", "yes")))
    read = ModelContract.from_json(contract.to_json())
    assert read == contract
    assert isinstance(read.inputs, TableInputs)
    assert read.inputs.columns[0].profile == column.profile
    assert "profile" not in replace(contract, inputs=TableInputs((plain,))).to_json()
    assert TableCodec((plain,)).form == TableCodec((column,)).form


@pytest.mark.parametrize(
    ("kind", "profile", "why"),
    [
        ("number", ColumnProfile(cuts=(1.0,), counts=(1, 2, 0, 0)), "4 counts for 5 cells"),
        ("number", ColumnProfile(cuts=(2.0, 1.0), counts=(0,) * 6), "each larger than the one before"),
        ("number", ColumnProfile(categories=("a",), counts=(0,) * 4), "categories for texts"),
        ("category", ColumnProfile(cuts=(1.0,), counts=(0,) * 4), "cuts are for numbers"),
        ("category", ColumnProfile(categories=("a",), counts=(0, -1, 0, 0)), "no number of rows"),
        ("category", ColumnProfile(categories=("a",), counts=(0, True, 0, 0)), "no number of rows"),
    ],
)
def test_a_profile_that_cannot_be_is_refused_with_its_column(kind: str, profile: ColumnProfile, why: str) -> None:
    with pytest.raises(ContractError, match=rf"column 'x'.*{why}"):
        Column("x", kind, profile=profile)  # type: ignore[arg-type]


def test_a_cut_that_is_no_number_is_refused() -> None:
    with pytest.raises(ContractError, match="not finite"):
        ColumnProfile(cuts=(math.inf,))
