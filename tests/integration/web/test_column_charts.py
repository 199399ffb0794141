"""The chart of the columns of a table on a model's page."""

from dataclasses import replace

import numpy as np
import pytest

from mlplatform.context import AppContext
from mlplatform.web.column_charts import column_chart
from mlplatform.web.model_page import model_page
from mlplatform.web.time_ranges import time_range
from pipelines.inputs.column_counter import with_profile
from pipelines.inputs.table_codec import TableCodec
from registry.errors import RegistryUnavailableError
from registry.model_contract import Column, TableInputs
from tests.support.monitoring_world import promote, tick, with_rules
from tests.support.page_world import no_forecasts
from tests.support.platform_world import FakeCatalog
from tests.support.table_world import COLUMNS, CONTRACT, answer_rows, customers, promote_table


def chart(context: AppContext, name: str = "24h") -> str | None:
    with context.database.read() as connection:
        return column_chart(connection, context.contracts, "digits", 1, time_range(name), context.clock())


@pytest.mark.parametrize("name", ["2h", "24h", "7d", "90d"])
def test_the_column_that_moved_comes_first_and_is_darker(context: AppContext, name: str) -> None:
    promote_table(with_rules(context))
    answer_rows(context, customers(300, 1, older=0.5), context.clock())
    tick(context, minutes=10)
    drawn = chart(context, name)
    assert drawn is not None
    assert drawn.index(">age<") < drawn.index(">plan<")
    assert "% of 300 rows" in drawn
    assert ">Column</th>" in drawn
    assert "heat-4" in drawn or "heat-5" in drawn


def test_few_rows_are_not_drawn(context: AppContext) -> None:
    promote_table(with_rules(context))
    answer_rows(context, customers(29, 1), context.clock())
    tick(context, minutes=10)
    drawn = chart(context)
    assert drawn is not None
    assert "rows" not in drawn.split("</figcaption>")[1]


def test_the_page_of_a_table_has_it_and_a_name_cannot_break_it(context: AppContext) -> None:
    hostile = with_profile(Column("<script>age", "number", low=18, high=69), np.arange(18.0, 69.0).repeat(10))
    columns = (hostile, COLUMNS[1])
    promote_table(with_rules(context), 1, replace(CONTRACT, inputs=TableInputs(columns)))
    answer_rows(context, customers(300, 1), context.clock(), codec=TableCodec(columns))
    tick(context, minutes=10)
    page = model_page(context, "digits", "24h", no_forecasts(context))
    assert 'id="columns"' in page
    assert "&lt;script&gt;age" in page
    assert "<script>age" not in page


def test_pictures_versions_without_profiles_and_a_registry_that_is_away_have_none(context: AppContext) -> None:
    promote(with_rules(context))
    assert chart(context) is None
    assert 'id="columns"' not in model_page(context, "digits", "24h", no_forecasts(context))
    bare = tuple(replace(column, profile=None) for column in COLUMNS)
    promote_table(context, 2, replace(CONTRACT, inputs=TableInputs(bare)))
    tick(context, hours=1)
    with context.database.read() as connection:
        now, period = context.clock(), time_range("24h")
        assert column_chart(connection, context.contracts, "digits", 2, period, now) is None
        assert isinstance(context.catalog, FakeCatalog)
        context.catalog.away = RegistryUnavailableError("away")
        assert column_chart(connection, context.contracts, "digits", 3, period, now) is None
