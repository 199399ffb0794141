"""The whole loop with texts: pictures of amounts go bad, a label of each says so, and a candidate is judged on them."""

import base64
import shutil
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mlplatform.context import AppContext, create_context
from mlplatform.feedback import outcome_counts
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.monitoring.evaluation_report import write_report
from mlplatform.promotion.promotion_service import PromotionRequest, promotion_service
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.retraining_limits import RetrainingLimits
from mlplatform.retraining.worker import training_worker
from mlplatform.serve.api_server import build_server
from mlplatform.settings import load_settings
from pipelines.builtin.strings import PIPELINE
from pipelines.pipeline import Pipeline
from pipelines.strings.amounts.amount_trainer import AmountRecipe
from tests.support.api_server import running
from tests.support.drawn_strings import drawn_string, write_string_folder
from tests.support.monitoring_world import all_alerts, all_retrainings, counting, rule
from tests.support.waiting import eventually

RULES = """\
version: 1
model: strings
schedule: {every: 1m}
retraining: {cooldown: 0s, daily_cap: 10, min_feedback: 20}
rules:
  - {name: accuracy-drop, metric: accuracy_drop, above: 1 points, window: 1h, min_samples: 20, severity: critical,
      action: none}
  - {name: class-error, metric: class_error, above: 50 %, window: 1h, min_samples: 10, action: retrain}
"""
TINY = AmountRecipe(name="tiny", steps=4, decay_steps=2, warmup_steps=1, learning_rate=1e-5, batch_rows=4, look_every=2)


def encoded(picture: NDArray[np.uint8]) -> str:
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def ask(client: httpx.Client, pictures: list[NDArray[np.uint8]]) -> list[dict[str, object]]:
    answers: list[dict[str, object]] = []
    for first in range(0, len(pictures), 20):
        body = {"images": [encoded(picture) for picture in pictures[first : first + 20]], "client_id": f"till {first}"}
        response = client.post("/v1/predict", json=body)
        assert response.status_code == 200, response.text
        answers += response.json()["predictions"]
    return answers


def tell(client: httpx.Client, answers: list[dict[str, object]], truths: list[str]) -> None:
    labels = [
        {"prediction_id": answer["id"], "label": f" {truth} ", "source": "delayed"}
        for answer, truth in zip(answers, truths, strict=True)
    ]
    response = client.post("/v1/feedback", json={"feedback": labels})
    assert response.status_code == 200, response.text


@pytest.fixture
def world(tmp_path: Path, mlflow_template: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[AppContext, Pipeline]:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(mlflow_template, home / "mlflow.db")
    (tmp_path / "alerts.yaml").write_text(RULES, encoding="utf-8")
    texts = [str(number) for number in np.random.default_rng(1).integers(10, 99_999, 120)]
    data = write_string_folder(tmp_path / "data", texts)
    for name, value in {
        "DATABASE_URL": "",
        "MLFLOW_URI": "",
        "RECIPE": "",
        "HOME": home,
        "DATA_DIR": data,
        "ALERTS_FILE": tmp_path / "alerts.yaml",
        "PIPELINE": "strings",
        "MODEL": "strings",
        "POLL_SECONDS": 0.2,
        "BASELINE_CALLS": 20,
        "ALLOWED_HOSTS": '["api"]',
    }.items():
        monkeypatch.setenv(f"PLATFORM_{name}", str(value))
    family = replace(PIPELINE, recipes={"tiny": TINY}, default_recipe="tiny", first_accuracy=0.01)
    return create_context(load_settings()), family


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_texts_are_answered_labelled_watched_and_trained_anew(world: tuple[AppContext, Pipeline]) -> None:
    context, family = world
    first = training_worker(context).train(family, "the first", "test")
    if first.promotion is None:  # a few golden rows may not prove anything
        promotion_service(context).promote(PromotionRequest("strings", 1, None, "first", "test", "for a test"))
    golden = first.candidate.scores
    assert 0 < golden.accuracy < 1

    truths = [str(number) for number in np.random.default_rng(2).integers(1_000, 9_999, 80)]
    upside_down = [drawn_string(text, seed=seed)[0][::-1] for seed, text in enumerate(truths)]
    with running(build_server(context)) as client:
        eventually(lambda: client.get("/readyz").status_code == 200, "version 1", 120)
        answers = ask(client, upside_down)
        for answer in answers:
            assert answer["probabilities"] == {}
            assert len(answer["characters"]) == len(str(answer["label"]))  # type: ignore[arg-type]
            assert 0 <= float(str(answer["confidence"])) <= min(answer["characters"], default=1.0) + 1e-5  # type: ignore[call-overload]
        right = sum(answer["label"] == truth for answer, truth in zip(answers, truths, strict=True))
        assert right < len(truths) / 10
        refused = client.post("/v1/feedback", json={"prediction_id": answers[0]["id"], "label": "12a"})
        assert refused.status_code == 422
        assert "a text of 1 to 9 of the characters 0123456789" in refused.json()["detail"]
        tell(client, answers, truths)
        kept = client.get(f"/v1/predictions/{answers[0]['id']}").json()
        assert kept["labels"][0]["label"] == truths[0]
        assert kept["characters"] == answers[0]["characters"]

    with context.database.read() as connection:
        now = context.clock()
        cells = outcome_counts.window_label_counts(connection, "strings", 1, now.replace(hour=0, minute=0), now)
    assert {cell.truth for cell in cells} == {"length 4"}
    assert sum(cell.n for cell in cells if cell.correct) == right
    assert sum(cell.n for cell in cells) == len(truths)
    states = {}
    for name in ("accuracy-drop", "class-error"):
        made = evaluate(context, rule(context, name), context.clock())
        assert made is not None
        write_report(context, rule(context, name), made, counting)
        states[name] = made.state
    assert states["class-error"] == "breach"
    assert states["accuracy-drop"] in ("suspect", "breach")  # a few golden rows say little of how good it was
    fired = {alert.rule: alert for alert in all_alerts(context)}
    assert fired["class-error"].key == "length 4"
    assert fired["class-error"].state == "firing"

    [queued] = all_retrainings(context)
    assert queued.alert_id == fired["class-error"].id
    with context.database.write() as connection:
        claimed = retraining_queue.claim(
            connection, "strings", "me", RetrainingLimits(timedelta(0), 10), context.clock()
        )
    assert claimed is not None
    assert training_worker(context).run_retraining(claimed.id, "me", lambda _settings: family) == "succeeded"
    [done] = all_retrainings(context)
    assert done.candidate_version == 2
    verdict = done.verdict
    assert verdict is not None
    assert verdict["outcome"] in ("promote", "keep", "inconclusive")
    assert {check["name"] for check in verdict["checks"]} >= {"golden", "classes", "robustness", "latency"}
    assert verdict["labels"]["trained"] + verdict["labels"]["judged"] > 40
    card = context.catalog.version("strings", 2).description
    assert "a text of 1 to 9 of the characters 0123456789" in card
    context.database.close()
