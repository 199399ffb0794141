"""ONNX Runtime is imported through one door, which keeps it silent."""

import ast
from pathlib import Path

import pytest

from pipelines.engines.onnxruntime_import import TELEMETRY_OFF, disable_telemetry

ROOT = Path(__file__).parents[4]
ROOMS = ("registry", "pipelines", "monitors", "platform")
ITS_DOORS = {Path("pipelines/engines/onnxruntime_import.py"), Path("pipelines/edge/edge_server.py")}
"""The edge server is a file by itself, so it has a door of its own."""


def imported_at_run_time(text: str) -> list[str]:
    """Modules a file imports, those for type checkers alone left out."""
    tree, names = ast.parse(text), list[str]()
    typing = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    hidden = {id(inner) for node in typing for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            names += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return names


def test_every_module_goes_through_the_door_before_it_imports_a_part_of_the_library() -> None:
    modules = {path: path.read_text(encoding="utf-8") for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    importing = {
        path.relative_to(ROOT): text
        for path, text in modules.items()
        if any(name.partition(".")[0] == "onnxruntime" for name in imported_at_run_time(text))
    }
    assert importing.keys() >= ITS_DOORS
    for path in importing.keys() - ITS_DOORS:
        before, _, _ = importing[path].partition("from onnxruntime")
        assert "    import_onnxruntime()" in before, (
            f"{path} imports onnxruntime without pipelines.engines.onnxruntime_import"
        )


@pytest.mark.parametrize(("given", "left"), [({}, "1"), ({"ORT_DISABLE_TELEMETRY": ""}, "1")])
def test_it_is_silenced_where_nobody_said_otherwise(given: dict[str, str], left: str) -> None:
    environ = dict(given)
    disable_telemetry(environ)
    assert environ == {"ORT_DISABLE_TELEMETRY": left}


def test_what_a_person_set_stays() -> None:
    environ = dict.fromkeys(TELEMETRY_OFF, "0")
    disable_telemetry(environ)
    assert set(environ.values()) == {"0"}
