"""The documentation says what the code does: reference pages are current, and whatever a page names exists."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import typer.main
import yaml
from typer.core import TyperCommand, TyperGroup

from mlplatform.cli import app
from mlplatform.operations.scaffold import render_env_example, rules_template, template_variables, write_scaffold
from mlplatform.settings import Settings
from monitors.rules.alerts_config import json_schema
from monitors.rules.metric_catalog import METRICS
from tests.support.command_line import commands

ROOT = Path(__file__).parents[3]
ROOT_PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = (
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md") if path.name != "LOG.md"),
    *ROOT_PAGES,
)
LOG = "docs/LOG.md"
"""Says what was true on a day, so it may name what is gone."""
REFERENCE = ROOT / "docs/reference"
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page: str) -> str:
    """A page without its fenced blocks, in which `#` is no heading and brackets are no links."""
    return re.sub(r"^ *```.*?^ *```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def find_command(words: list[str]) -> tuple[TyperCommand, list[str]]:
    """The command that a line calls, and what is left for it; raises LookupError where there is none."""
    command: object = typer.main.get_command(app)
    rest = words[1:]
    while isinstance(command, TyperGroup):
        if not rest or rest[0] not in command.commands:
            raise LookupError(" ".join(words))
        command, rest = command.commands[rest[0]], rest[1:]
    assert isinstance(command, TyperCommand)
    return command, rest


def command_lines(page: str) -> Iterator[list[str]]:
    """The words of each `platform ...` line in a page's shell blocks, variables before it and comments cut off."""
    for block in re.findall(r"^ *```(?:console|sh)\n(.*?)^ *```", text_of(page), flags=re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            words = words[1:] if words[:1] == ["$"] else words
            while words and re.match(r"^[A-Z_]+=", words[0]):
                words = words[1:]
            if words[:5] == ["docker", "compose", "run", "--rm", "api"]:
                words = words[5:]
            if words[:1] == ["platform"]:
                yield words


def test_the_reference_pages_are_what_the_code_says() -> None:
    command = [sys.executable, "docs/generate.py", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_command_can_answer_in_json() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for name in commands(group):
        command, _ = find_command(name.split())
        assert any("--json" in parameter.opts for parameter in command.params), name


@pytest.mark.parametrize("page", PAGES)
def test_every_command_line_of_a_page_is_understood(page: str) -> None:
    for words in command_lines(page):
        command, rest = find_command(words)
        command.make_context(" ".join(words), rest)  # raises where an option or argument is wrong


@pytest.mark.parametrize("page", PAGES)
def test_every_command_named_in_a_text_exists(page: str) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    known = set(commands(group))
    groups = {" ".join(name.split()[:2]) for name in known} | {"platform"}
    for words in re.findall(r"`(platform(?: [a-z][a-z-]*)+)", text_of(page)):
        first, second = " ".join(words.split()[:2]), " ".join(words.split()[:3])
        assert second in known or first in known or words in groups, f"{page}: `{words}`"


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_a_page_names_exists(page: str) -> None:
    known = {f"PLATFORM_{name.upper()}" for name in Settings.model_fields} | set(template_variables(rules_template()))
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    named = set(re.findall(r"\bPLATFORM_[A-Z][A-Z_]*[A-Z]\b", text_of(page)))
    for name in named - known:
        assert name.startswith("PLATFORM_TEST_"), f"{page}: {name}"
        assert name in tests or name == "PLATFORM_TEST_REQUIRE_POSTGRES", f"{page}: {name}"


def test_every_setting_says_what_it_means() -> None:
    assert [name for name, info in Settings.model_fields.items() if not info.description] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_endpoint_a_page_names_exists(page: str) -> None:
    known = set(re.findall(r"`((?:GET|POST|DELETE) /[^`]*)`", text_of("docs/reference/http.md"))) | {
        "GET /openapi.json"
    }
    named = re.findall(r"`((?:GET|POST|DELETE) /[^`?\s]*)", text_of(page))
    assert set(named) <= known, page


def test_every_endpoint_says_what_it_does() -> None:
    rows = re.findall(r"^\| \[?`(?:GET|POST|DELETE) [^|]+\| ([^|]*)\|", text_of("docs/reference/http.md"), re.MULTILINE)
    assert len(rows) > 30
    assert all(words.strip() for words in rows)


@pytest.mark.parametrize("page", [*PAGES, "deploy/grafana/dashboard.json", "deploy/grafana/alert-rules.yml"])
def test_every_metric_a_page_names_exists(page: str) -> None:
    known = set(re.findall(r"^\| `(mlplatform_\w+)`", text_of("docs/reference/metrics.md"), re.MULTILINE))
    named = set(re.findall(r"\bmlplatform_[a-z_]+[a-z]\b", text_of(page)))
    for name in named:
        assert {name, f"{name}_total", re.sub(r"_(bucket|sum|count)$", "", name)} & known, f"{page}: {name}"


def test_every_exit_code_is_in_the_reference() -> None:
    rows = re.findall(r"^\| (\d+) \|", text_of("docs/reference/exit-codes.md"), re.MULTILINE)
    assert rows == ["0", "1", "2", "3", "4", "5", "6", "10"]


def test_every_metric_of_a_rule_is_explained() -> None:
    table = text_of("docs/reference/alerts-file.md").split("## Metrics a rule may watch")[1].split("## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*)\|", table, re.MULTILINE)
    assert {name for name, words in rows if not words.strip()} == set()
    choices = json_schema()["$defs"]["Rule"]["properties"]["metric"]["anyOf"]
    assert [name for name, _ in rows] == next(choice["examples"] for choice in choices if "examples" in choice)


def test_every_metric_of_a_rule_is_explained_beyond_its_line() -> None:
    words = text_of("docs/explanation/deciding.md") + text_of("docs/explanation/rules.md")
    assert [metric for metric in METRICS if f"`{metric}`" not in words] == []


def test_every_key_of_alerts_yaml_says_what_it_means() -> None:
    page = text_of("docs/reference/alerts-file.md").split("\n## Metrics a rule may watch")[0]
    rows = re.findall(r"^\| `(\w+)` .*\| ([^|]*) \|$", page, re.MULTILINE)
    assert len(rows) > 60
    assert [key for key, words in rows if not words.strip()] == []


def make_targets(page: str) -> set[str]:
    return set(re.findall(r"(?:^|`)make ([a-z-]+)", text_of(page), flags=re.MULTILINE))


def test_the_readmes_make_targets_exist() -> None:
    makefile = text_of("Makefile")
    for target in make_targets("README.md"):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    script = text_of(".ci/run")
    assert "make check" in script
    assert "make test" in script


def test_every_make_target_a_page_names_exists() -> None:
    makefile = text_of("Makefile")
    named = set().union(*(make_targets(page) for page in PAGES))
    assert {target for target in named if not re.search(rf"^{target}:", makefile, flags=re.MULTILINE)} == set()


@pytest.mark.parametrize(
    "page",
    [
        *PAGES,
        LOG,
        "ARCHITECTURE.md",
        "CHANGELOG.md",
    ],
)
def test_relative_links_lead_somewhere(page: str) -> None:
    for target, fragment in LINK.findall(prose(page)):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), f"{page}: {target}"
        if fragment and path.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", prose(str(path.resolve().relative_to(ROOT))), flags=re.MULTILINE)
            assert fragment in {slug(heading) for heading in headings}, f"{page}: {target}#{fragment}"


def slug(heading: str) -> str:
    """The fragment of a heading, as GitHub and the site make it."""
    return re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")


def test_every_source_file_a_guide_names_exists() -> None:
    rooms = r"(?:platform/mlplatform|pipelines|monitors|registry|tests|benchmarks|docs)/[\w/.-]*"
    missing = {
        f"{page}: {path}"
        for page in (*PAGES, "ARCHITECTURE.md")
        if not page.startswith("docs/decisions/")  # they say what was true on their day
        for path in re.findall(rf"`({rooms})`", text_of(page))
        if not re.search(r"[A-Z]{2}", path) and not (ROOT / path).exists()
    }
    assert missing == set()


def test_every_page_has_its_place_on_the_site() -> None:
    navigation = text_of("mkdocs.yml").split("\nnav:\n")[1]
    for page in (*PAGES, LOG, "docs/ARCHITECTURE.md", "docs/CHANGELOG.md"):
        if page != "README.md":
            assert re.search(rf"[ :]{re.escape(page.removeprefix('docs/'))}$", navigation, flags=re.MULTILINE), page


def test_the_site_fetches_nothing_from_elsewhere() -> None:
    settings = text_of("mkdocs.yml")
    assert "font: false" in settings
    assert not re.search(r"https?://", settings)
    assert not re.search(r"^ *(repo_url|extra_javascript|extra_css|analytics):", settings, flags=re.MULTILINE)
    for page in (*PAGES, LOG):
        assert not re.search(r"!\[[^\]]*\]\(https?:|<(?:img|script|iframe|link)\b", prose(page)), page


def test_the_site_says_why_a_diagram_is_text() -> None:
    """Material draws Mermaid with a script from another host, and only where the fence is set up for it."""
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "custom_fences" not in site, "diagrams would be drawn by a script that is fetched"
    site_hooks = runpy.run_path(str(ROOT / "docs/site_hooks.py"))
    page = site_hooks["note_diagrams"]("Text.\n\n```mermaid\nflowchart TB\n```\n\n```console\nls\n```\n")
    assert page.count(site_hooks["DIAGRAM_NOTE"]) == 1
    assert page.index(site_hooks["DIAGRAM_NOTE"]) < page.index("```mermaid")


def test_the_readme_is_read_in_five_minutes() -> None:
    assert 8_000 <= len((ROOT / "README.md").read_bytes()) <= 10_240


def test_the_schema_for_editors_accepts_the_shipped_rules() -> None:
    kept = json.loads(text_of("docs/alerts.schema.json"))
    assert kept == json_schema()
    jsonschema.validate(yaml.safe_load(text_of("alerts.yaml")), kept)


def test_init_writes_the_shipped_rules_and_every_setting(tmp_path: Path) -> None:
    write_scaffold(tmp_path, force=False)
    assert (tmp_path / "alerts.yaml").read_text(encoding="utf-8") == text_of("alerts.yaml")
    assert rules_template() == text_of("alerts.yaml")
    for name in Settings.model_fields:
        assert f"# PLATFORM_{name.upper()}=" in render_env_example()


def test_every_benchmark_runs_in_make_bench_and_is_in_the_guide() -> None:
    [listed] = re.findall(r"for name in ([a-z_ ]+);", text_of("Makefile"))
    files = (ROOT / "benchmarks").glob("*.py")
    modules = {path.stem for path in files if "__main__" in path.read_text(encoding="utf-8")}
    assert set(listed.split()) == modules
    guide = text_of("docs/how-to/run-benchmarks.md")
    assert {name for name in modules if f"| `python -m benchmarks.{name}` |" not in guide} == set()


def test_no_committed_file_names_a_machine_or_a_registry_host() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    hosts = re.compile(r"/work/|/root/|pypi\.org/simple|download\.pytorch\.org|BEGIN [A-Z ]*PRIVATE KEY")
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".yml", ".yaml", ".toml", ".txt", ".json", ""} and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            assert name == "tests/unit/project/test_docs.py" or not hosts.search(text), name
