"""Starter files for a new deployment."""

from pathlib import Path

import pytest
from dotenv import dotenv_values

from mlplatform.errors import ConflictError
from mlplatform.operations.scaffold import (
    Task,
    default_text,
    render_env_example,
    rules_template,
    template_variables,
    write_scaffold,
)
from mlplatform.settings import Settings
from monitors.rules.alerts_config import load_rules

ROOT = Path(__file__).parents[3]


def uncommented(text: str) -> str:
    """The example with every setting switched on."""
    return "\n".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# PLATFORM_"))


def test_both_files_are_written_into_a_new_folder(tmp_path: Path) -> None:
    written = write_scaffold(tmp_path / "new", force=False)
    assert [path.name for path in written] == ["alerts.yaml", ".env.example"]
    assert all(path.is_file() for path in written)


@pytest.mark.parametrize("name", ["alerts.yaml", ".env.example"])
def test_a_file_that_exists_is_kept_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConflictError, match=rf"{name} exists.*--force"):
        write_scaffold(tmp_path, force=False)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_force_overwrites(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text("mine")
    write_scaffold(tmp_path, force=True)
    assert (tmp_path / "alerts.yaml").read_text() == rules_template()


def test_the_rules_work_as_they_are_with_every_channel_switched_off(tmp_path: Path) -> None:
    write_scaffold(tmp_path, force=False)
    rules = load_rules(tmp_path / "alerts.yaml", {})
    assert {rule.action for rule in rules.rules} == {"retrain", "tune-serving", "label-audit", "none"}
    assert not any(channel.is_configured for channel in rules.channels.values())


def test_the_packaged_rules_are_those_at_the_root() -> None:
    assert rules_template() == (ROOT / "alerts.yaml").read_text(encoding="utf-8")


def test_every_setting_and_every_channel_variable_is_in_the_example() -> None:
    text = render_env_example()
    names = [f"PLATFORM_{name.upper()}" for name in Settings.model_fields] + list(template_variables(rules_template()))
    assert all(f"# {name}=" in text for name in names)
    assert len(set(names)) == len(names)


def test_the_example_changes_nothing_until_it_is_uncommented(tmp_path: Path) -> None:
    (tmp_path / "env").write_text(render_env_example())
    assert dotenv_values(tmp_path / "env") == {}


def test_the_example_uncommented_says_what_is_so_anyway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"PLATFORM_{name.upper()}", raising=False)
    (tmp_path / "env").write_text(uncommented(render_env_example()))
    assert Settings(_env_file=tmp_path / "env") == Settings(_env_file=None)


def test_variables_are_found_with_their_defaults() -> None:
    text = "a: ${PLATFORM_A}\nb: ${PLATFORM_B:-587} ${OTHER:-x}\nc: ${PLATFORM_C:-}"
    assert template_variables(text) == {"PLATFORM_A": "", "PLATFORM_B": "587", "PLATFORM_C": ""}


def test_a_setting_without_a_default_is_shown_empty() -> None:
    assert default_text(Settings.model_fields["data_dir"]) == ""
    assert default_text(Settings.model_fields["home"]) == "var"


@pytest.mark.parametrize("task", ["images", "table"])
def test_no_rule_asks_for_retrainings_of_what_nothing_here_makes(tmp_path: Path, task: Task) -> None:
    write_scaffold(tmp_path, force=False, model="leavers", task=task, retrains=False)
    rules = {rule.name: rule.action for rule in load_rules(tmp_path / "alerts.yaml", {}).rules}
    assert rules["accuracy-drop"] == "none"
    assert "retrain" not in rules.values()


def test_the_rules_are_for_the_model_of_the_settings_and_for_a_table_by_day(tmp_path: Path) -> None:
    write_scaffold(tmp_path, force=False, model="churn", task="table")
    table = load_rules(tmp_path / "alerts.yaml", {})
    assert table.model == "churn"
    rules = {rule.name: rule for rule in table.rules}
    assert {name: rules[name].block.text for name in ("accuracy-drop", "class-error")} == {
        "accuracy-drop": "1d",
        "class-error": "1d",
    }
    assert (rules["accuracy-drop"].threshold, rules["class-error"].threshold) == (0.02, 0.5)
    columns = {name for name, rule in rules.items() if rule.metric_spec.key_type == "column"}
    assert {rules[name].metric for name in columns} == {
        "column_missing",
        "column_unseen",
        "column_range",
        "column_skew",
        "column_drift",
    }
    write_scaffold(tmp_path, force=True)
    assert rules.keys() - columns == {rule.name for rule in load_rules(tmp_path / "alerts.yaml", {}).rules}
