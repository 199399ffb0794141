"""The documentation tells the truth: every command, setting, endpoint, exit code and module appears."""

import json
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import typer.main
import yaml
from typer.core import TyperCommand, TyperGroup

from mlplatform.cli import app
from mlplatform.operations.scaffold import default_text, render_env_example, rules_template, write_scaffold
from mlplatform.settings import Settings
from monitors.rules.alerts_config import json_schema

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROOMS = ("registry", "pipelines", "monitors", "platform/mlplatform")


def commands(group: TyperGroup, before: str = "platform") -> list[str]:
    """Every visible command in full."""
    found = []
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            found += commands(command, f"{before} {name}")
        elif not command.hidden:
            found.append(f"{before} {name}")
    return found


def test_every_command_is_in_the_readme_and_no_other() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    written = set(re.findall(r"^\| `(platform [a-z -]+)` \|", README, flags=re.MULTILINE))
    assert written == set(commands(group))


def test_every_command_can_answer_in_json() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for words in commands(group):
        command: TyperCommand | TyperGroup = group
        for word in words.split()[1:]:
            assert isinstance(command, TyperGroup)
            found = command.commands[word]
            assert isinstance(found, TyperCommand | TyperGroup)
            command = found
        assert any("--json" in parameter.opts for parameter in command.params), words


def test_every_setting_is_in_the_readme_with_its_default_and_meaning() -> None:
    for name, info in Settings.model_fields.items():
        default = default_text(info)
        shown = f"`{default}`" if default else ""
        assert f"| `PLATFORM_{name.upper()}` | {shown} | {info.description} |" in README
    written = re.findall(r"^\| `PLATFORM_(\w+)` \|", README, flags=re.MULTILINE)
    assert len(written) == len(Settings.model_fields)


def test_every_endpoint_is_in_the_readme_and_no_other() -> None:
    faces = (ROOT / "platform/mlplatform/serve").glob("*.py")
    source = "\n".join(path.read_text(encoding="utf-8") for path in faces)
    routes = {
        f"{verb.upper()} {path}" for verb, path in re.findall(r"@app\.(get|post|delete)\(\s*\"([^\"]+)\"", source)
    } | {"GET /docs"}
    assert set(re.findall(r"^\| `((?:GET|POST|DELETE) [^`]+)` \|", README, flags=re.MULTILINE)) == routes


def test_every_metric_is_in_the_readme_and_no_other() -> None:
    source = (ROOT / "platform/mlplatform/serve/observability/prometheus_metrics.py").read_text(encoding="utf-8")
    made = set(re.findall(r"\"(mlplatform_\w+)\"", source))
    assert set(re.findall(r"^\| `(mlplatform_\w+)` \|", README, flags=re.MULTILINE)) == made


def test_every_exit_code_is_in_the_readme_as_the_code_says() -> None:
    source = (ROOT / "platform/mlplatform/cli/exit_codes.py").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \|.*\|$", source, flags=re.MULTILINE)
    assert len(rows) == 8
    assert all(row in README for row in rows)


def test_the_readmes_tree_names_every_module() -> None:
    tree = README.split("```text\n")[1].split("```")[0]
    named, room = set(), ""
    for line in tree.splitlines():
        word = line.split()[0]
        if not line.startswith(" "):
            room = word
        else:
            assert f"{room}{word}" not in named, "a module has one line"
            named.add(f"{room}{word}")
    modules = {
        str(path.relative_to(ROOT))
        for each in ROOMS
        for path in (ROOT / each).rglob("*.py")
        if path.name != "__init__.py" or path.read_text(encoding="utf-8").strip()
    }
    assert named == modules


def test_the_readmes_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:^|`)make (\w+)", README, flags=re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert "make check" in script
    assert "make test" in script


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_relative_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        assert (ROOT / target).exists(), target


def test_the_schema_for_editors_is_current_and_accepts_the_shipped_rules() -> None:
    kept = json.loads((ROOT / "docs/alerts.schema.json").read_text(encoding="utf-8"))
    assert kept == json_schema(), "run: platform alerts schema > docs/alerts.schema.json"
    jsonschema.validate(yaml.safe_load((ROOT / "alerts.yaml").read_text(encoding="utf-8")), kept)


def test_init_writes_the_shipped_rules_and_every_setting(tmp_path: Path) -> None:
    write_scaffold(tmp_path, force=False)
    assert (tmp_path / "alerts.yaml").read_text(encoding="utf-8") == (ROOT / "alerts.yaml").read_text(encoding="utf-8")
    assert rules_template() == (ROOT / "alerts.yaml").read_text(encoding="utf-8")
    for name in Settings.model_fields:
        assert f"# PLATFORM_{name.upper()}=" in render_env_example()


def test_every_benchmark_runs_in_make_bench_and_explains_itself() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [listed] = re.findall(r"for name in ([a-z ]+);", makefile)
    modules = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "__init__"}
    assert set(listed.split()) == modules


def test_no_committed_file_names_a_machine_or_a_registry_host() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    hosts = re.compile(r"/work/|/root/|pypi\.org/simple|download\.pytorch\.org|BEGIN [A-Z ]*PRIVATE KEY")
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".yml", ".yaml", ".toml", ".txt", ".json", ""} and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            assert name == "tests/unit/project/test_docs.py" or not hosts.search(text), name
