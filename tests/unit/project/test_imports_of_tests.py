"""What tests share is in tests/support: no test is imported by another, none imports a conftest or a benchmark."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def is_shared(module: str) -> bool:
    """Whether a file under tests may import a module: all but tests and benchmarks, and of these what is support."""
    room, _, rest = module.partition(".")
    return room not in ("tests", "benchmarks") or module == "tests" or rest.partition(".")[0] == "support"


def test_tests_import_no_test_no_conftest_and_no_benchmark() -> None:
    assert [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for module in imported(path)
        if not is_shared(module)
    ] == []


def test_tests_of_benchmarks_and_benchmarks_import_no_test() -> None:
    assert [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sorted((ROOT / "benchmarks").rglob("*.py"))
        for module in imported(path)
        if module.startswith("tests.") and not is_shared(module)
    ] == []
