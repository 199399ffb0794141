"""The page of one model: what it shows of a model that has gone bad, and the inputs behind its confusion."""

import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from pathlib import Path

import httpx
import pytest
from sqlalchemy import insert, select

from mlplatform.promotion import promotion_history
from mlplatform.serve.api_server import ApiServer, build_server
from mlplatform.store.tables.predictions import predictions, review_samples
from tests.support.api_server import loaded, problem, running
from tests.support.page_world import page_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A server of a platform with a fortnight of history."""
    with page_world(Path(tmp_path_factory.mktemp("pages")) / "home", per_hour=6) as context:
        server = build_server(context)
        server.model_slot.swap(loaded(2))
        yield server


@pytest.fixture(scope="module")
def visitor(world: ApiServer) -> Iterator[httpx.Client]:
    with running(world) as client:
        client.headers["host"] = "localhost"
        yield client


def section(page: str, name: str) -> str:
    [text] = re.findall(rf'<section class="card" id="{name}".*?</section>', page, re.DOTALL)
    return str(text)


def test_the_timeline_has_promotions_alerts_and_retrainings_on_one_axis(visitor: httpx.Client) -> None:
    page = visitor.get("/models/digits").text
    timeline = section(page, "timeline")
    for kind in ("promotion", "retraining", "critical alert", "golden set (97.0 %)", "allowed (94.0 %)"):
        assert kind in timeline
    assert 'class="event promotion"' in timeline
    assert 'class="span critical"' in timeline
    assert "version 2 serves, by ada: better on the same rows" in timeline


def test_each_rule_says_how_much_it_has_proved(visitor: httpx.Client) -> None:
    rules = section(visitor.get("/models/digits").text, "rules")
    rows = re.findall(r'<td data-name="rule">([^<]+)</td>\s*<td data-name="state" class="([a-z-]+)">', rules)
    assert ("accuracy-drop", "breach") in rows
    gauges = re.findall(r'<svg class="gauge"[^>]*aria-label="([^"]+)"', rules)
    assert len(gauges) == len(rows)
    assert "proved" in gauges


def test_the_confusion_matrix_opens_the_inputs_of_a_cell(visitor: httpx.Client) -> None:
    confusion = section(visitor.get("/models/digits?range=24h").text, "confusion")
    [(address, n)] = re.findall(r'href="\.\./(models/[^"]+truth=7&amp;answer=8[^"]*)"[^>]*>(\d+)<', confusion)
    inputs = visitor.get(f"/{unescape(address)}")
    assert inputs.status_code == 200
    assert "7 answered as 8" in inputs.text
    pictures = re.findall(r'<img src="\.\./\.\./(v1/predictions/[^"]+/image)"', inputs.text)
    assert len(pictures) == int(n)
    assert visitor.get(f"/{pictures[0]}").content.startswith(b"\x89PNG")


def test_the_worst_errors_are_pictures_of_wrong_answers_the_surest_first(visitor: httpx.Client) -> None:
    worst = section(visitor.get("/models/digits").text, "worst")
    sure = [float(text) for text in re.findall(r"([\d.]+) % sure", worst)]
    assert len(sure) == 12
    assert sure == sorted(sure, reverse=True)
    for truth, answer in re.findall(r'alt="input of class (\d), answered as (\d)"', worst):
        assert truth != answer


def test_coverage_and_lag_of_labels_are_said(visitor: httpx.Client) -> None:
    labels = section(visitor.get("/models/digits").text, "labels")
    found = re.search(r"([\d,]+) of ([\d,]+) answers \((\d+\.\d) %\)", labels)
    assert found is not None
    given, answers = (int(found[place].replace(",", "")) for place in (1, 2))
    assert float(found[3]) == pytest.approx(100 * given / answers, abs=0.06)
    assert "half within" in labels


def test_what_reviewers_skip_stands_beside_what_was_drawn(world: ApiServer, visitor: httpx.Client) -> None:
    context = world.context
    before = context.clock() - timedelta(days=5)
    with context.database.write() as connection:
        query = select(predictions.c.id).where(predictions.c.model_name == "digits", predictions.c.at < before)
        free = query.where(predictions.c.id.not_in(select(review_samples.c.prediction_id)))
        ids = list(connection.scalars(free.order_by(predictions.c.id).limit(300)))
        rows = [
            {
                "prediction_id": key, "model_name": "digits", "model_version": 1, "at": before, "inclusion": 1.0,
                "heaviest": 1.0, "stratum": f"{number % 10} {3 if number < 200 else 0}", "place": key,
                "finished_at": before if number >= 200 or number % 4 == 0 else None,
            }
            for number, key in enumerate(ids)
        ]  # fmt: skip
        connection.execute(insert(review_samples), rows)
    labels = section(visitor.get("/models/digits").text, "labels")
    cells = re.findall(r'<td data-name="[^"]+"[^>]*>([^<]+)</td>', labels)
    assert cells[:4] == ["confidence 0% to 60%", "100", "100.0 %", "100.0 %"]
    assert cells[-4:] == ["confidence 98% to 100%", "200", "25.0 %", "25.0 %"]


@pytest.mark.parametrize("name", ["2h", "24h", "7d", "30d", "90d"])
def test_a_range_can_be_picked(visitor: httpx.Client, name: str) -> None:
    page = visitor.get("/models/digits", params={"range": name})
    assert page.status_code == 200
    assert f'range={name}" aria-current="true"' in page.text


def test_another_model_of_the_database_has_its_page_too(visitor: httpx.Client) -> None:
    page = visitor.get("/models/arabic").text
    assert "version 1 serves since" in page
    assert "golden set (97.0 %)" in page
    assert "allowed (" not in page, "its rules are in another file"


def test_a_model_or_range_nobody_knows_is_told_so(visitor: httpx.Client) -> None:
    assert "arabic, digits" in problem(visitor.get("/models/nobody"), 404)
    assert "2h, 24h, 7d" in problem(visitor.get("/models/digits?range=century"), 422)
    problem(visitor.get("/models/digits/inputs?truth=1"), 422)
    problem(visitor.get("/models/digits/inputs?truth=%00&answer=1"), 422)


def test_names_of_classes_become_no_markup(visitor: httpx.Client) -> None:
    page = visitor.get("/models/digits/inputs", params={"truth": "<script>a</script>", "answer": '"><img src=x>'}).text
    assert "<script>a" not in page
    assert "<img src=x>" not in page
    assert "None in this time." in page


def test_what_people_wrote_of_a_promotion_becomes_no_markup(world: ApiServer, visitor: httpx.Client) -> None:
    with world.context.database.write() as connection:
        promotion_history.append(
            connection,
            model_name="arabic",
            expected=1,
            to_version=7,
            kind="promote",
            now=world.context.clock(),
            actor="<script>actor</script>",
            reason="</title><script>reason</script>",
            fence=1,
        )
    page = visitor.get("/models/arabic").text
    assert "<script>actor" not in page
    assert "<script>reason" not in page
    assert "&lt;script&gt;reason" in page
