"""That what the product defines is used by the product, not by tests alone."""

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[3]
PRODUCT = ("platform", "pipelines", "monitors", "registry")
CALLED_BY_NAME = re.compile(
    r"do_[A-Z]+|handle_DATA|handle_error|log_message|verify_request|service_actions|get_next|data_received|"
    r"on_(url|header|headers_complete|chunk_header)|process_(bind_param|result_value)|_do_submit_job|flatten_mapping|"
    r"__\w+__"
)
"""Methods that a library calls by their names."""
PLAIN = {"property", "cached_property", "classmethod", "staticmethod", "contextmanager", "retry_while_unavailable"}
"""Decorators that call nothing by themselves; a route or a command is used where it is defined."""
FOR_TESTS = {
    "dispatch_due": "every due notice once, to the end; the watcher starts the same work and does not wait for it",
    "wait_until_idle": "what a shadow was given has been answered; a server does not wait for that",
    "replay_verdict": "the promise that stored evidence leads to the same verdict, for whoever audits one",
}


def _sources(*folders: str) -> dict[Path, ast.Module]:
    files = (path for folder in folders for path in (ROOT / folder).rglob("*.py") if "tests" not in path.parts[-3:-1])
    return {path: ast.parse(path.read_text()) for path in files}


def _used_names(trees: list[ast.Module]) -> Counter[str]:
    """Names, attributes, and words in texts: rules and catalogues name functions as texts."""
    used = Counter[str]()
    for tree in trees:
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        exports = {
            id(item)
            for node in tree.body
            if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
            for item in ast.walk(node.value)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                used[node.id] += 1
            elif isinstance(node, ast.Attribute):
                used[node.attr] += 1
            elif (
                isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | exports
            ):
                used.update(re.findall(r"\w+", node.value))
    return used


def test_no_function_or_class_is_used_by_tests_alone() -> None:
    product = _sources(*PRODUCT)
    used = _used_names([*product.values(), *_sources("benchmarks", "docs").values()])
    unused = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path, tree in product.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and PLAIN.issuperset(ast.unparse(decorator) for decorator in node.decorator_list)
        and not used[node.name]
        and not CALLED_BY_NAME.fullmatch(node.name)
        and node.name not in FOR_TESTS
    ]
    assert unused == [], "remove these, or move them to tests/support"
    assert all(not used[name] for name in FOR_TESTS), "used by the product now: take it off the list"
