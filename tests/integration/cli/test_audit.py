"""`platform audit`."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from mlplatform.audit import audit_entries, hash_chain
from mlplatform.clock import utc_now
from mlplatform.context import AppContext
from mlplatform.predictions import sampling_plans
from mlplatform.promotion import promotion_history
from mlplatform.store.tables.audit import audit_log
from monitors.statistics.review_sampling import SamplingPlan
from tests.support.command_line import Command
from tests.support.label_studio import annotation, choice, exported
from tests.support.platform_world import prediction, recorded
from tests.support.version_folder import DIGITS


@pytest.fixture
def drawn(store: AppContext) -> list[str]:
    """A champion whose answers are all drawn."""
    now = utc_now() - timedelta(minutes=5)
    with store.database.write() as connection:
        promotion_history.append(
            connection,
            model_name="digits",
            expected=None,
            to_version=1,
            kind="first",
            now=now,
            actor="t",
            reason="r",
            fence=1,
        )
        store.contracts.pin(connection, DIGITS, "digits", 1, now)
        sampling_plans.publish(connection, "digits", 1, SamplingPlan(uniform=1.0).to_json(), now)
    return recorded(store.database, *(prediction(utc_now(), seed=seed) for seed in range(3)))


def test_without_a_champion_status_says_what_to_do(platform: Command, store: AppContext) -> None:
    said = platform("audit", "status")
    assert said.code != 0
    assert "platform train" in said.err


def test_a_batch_goes_out_as_pictures_and_comes_back_as_labels(
    platform: Command, drawn: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "batch"
    said = platform("audit", "next", "--reviewer", "ada", "--out", str(out), "--limit", "2", "--json").json
    assert said == {"answers": 2, "sheet": str(out / "labels.csv")}
    sheet = out / "labels.csv"
    header, first, second = sheet.read_text().split()
    sheet.write_text(f"{header}\n{first}7\n{second}\n")
    taken = platform("audit", "submit", str(sheet), "--reviewer", "ada", "--json").json
    assert taken == {"audit": 1, "review": 0, "repeated": 0}
    again = platform("audit", "submit", str(sheet), "--reviewer", "ada")
    assert again.out == "0 audit labels, 0 reviews, 1 known already\n"
    shown = platform("audit", "status", "--json").json
    assert [(row["window"], row["drawn"], row["settled"]) for row in shown["windows"]] == [("24h", 3, 1), ("7d", 3, 1)]
    assert "version 1: drawn by plan" in platform("audit", "status").out


def test_nothing_to_review_is_said_and_writes_nothing(platform: Command, store: AppContext, tmp_path: Path) -> None:
    said = platform("audit", "next", "--reviewer", "ada", "--out", str(tmp_path / "none"))
    assert (said.code, said.out) == (0, "nothing waits for review\n")
    assert not (tmp_path / "none").exists()


def test_inputs_go_to_label_studio_and_come_back_as_labels(platform: Command, drawn: list[str], tmp_path: Path) -> None:
    out = tmp_path / "ls"
    words = ("label-studio", "export", "--out", str(out), "--limit", "2", "--hold", "3d")
    files = [str(out / "tasks.json"), str(out / "labelling.xml")]
    assert platform(*words, "--json").json == {"tasks": 2, "files": files}
    assert "exists; import it into Label Studio" in platform(*words).err
    data = [task["data"] for task in json.loads((out / "tasks.json").read_text())]
    assert {each["prediction_id"] for each in data} < set(drawn)
    export = tmp_path / "export.json"
    export.write_text(json.dumps(exported(*((each, [annotation(n, choice("7"))]) for n, each in enumerate(data)))))
    assert platform("label-studio", "import", str(export), "--json").json["audit"] == 2
    assert platform("label-studio", "import", str(export)).out == (
        "0 audit, 0 review, 2 repeated, 0 late, 0 erased, 0 skipped, 0 undecided\n"
    )
    assert platform(*words[:-1], "soon").code == 2
    assert "not open" in platform("label-studio", "export", "--queue", "t", "--out", str(tmp_path / "b")).err


def test_an_unknown_task_and_a_missing_sheet_are_errors(platform: Command, store: AppContext, tmp_path: Path) -> None:
    assert "'t' is not open" in platform("audit", "next", "--reviewer", "ada", "--task", "t").err
    assert "cannot be read" in platform("audit", "submit", str(tmp_path / "no.csv"), "--reviewer", "ada").err


def test_the_log_is_shown_anchored_and_verified(platform: Command, store: AppContext) -> None:
    with store.database.write() as connection:
        audit_entries.append(connection, "ada", "look", "clock", store.clock())
    assert platform("audit", "log", "--limit", "1", "--json").json[0]["actor"] == "ada"
    assert "look" in platform("audit", "log").out
    assert platform("audit", "anchor", "--json").json["chains"] >= 1
    sound = platform("audit", "verify", "--json")
    assert (sound.code, sound.json["sound"], sound.json["anchored"] >= 1) == (0, True, True)
    with store.database.write() as connection:
        connection.execute(delete(audit_log).where(audit_log.c.actor == "ada"))
    broken = platform("audit", "verify")
    assert broken.code == 1
    assert "at the end was removed" in broken.out


def test_anchors_begin_anew_only_where_a_person_says_why(platform: Command, store: AppContext) -> None:
    for subject in ("clock", "door"):
        with store.database.write() as connection:
            audit_entries.append(connection, "ada", "look", subject, store.clock(), {"rows": {"promotions/1": "0"}})
        platform("audit", "anchor")
    assert "promotions/1" not in platform("audit", "log").out
    with store.database.write() as connection:
        connection.execute(delete(audit_log).where(audit_log.c.subject == "door"))
        last = hash_chain.ChainHead(
            hash_chain.LOG_CHAIN, *connection.execute(select(audit_log.c.number, audit_log.c.hash)).one()
        )
        hash_chain.set_head(connection, last, store.clock())
    refused = platform("audit", "anchor")
    assert (refused.code, "is gone" in refused.err) == (1, True)
    begun = platform("audit", "anchor", "--accept", "restored a backup", "--by", "ada", "--json").json
    assert Path(begun["aside"]).is_file()
    assert "promotions/1 was removed" in platform("audit", "verify").out
    assert "is gone" not in platform("audit", "verify").out
    assert platform("audit", "verify", "--anchors", begun["aside"]).code == 1
