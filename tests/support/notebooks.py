"""Runs the code of a notebook, cell by cell in one namespace, without a kernel."""

import ast
import json
from pathlib import Path
from typing import Any


def run_notebook(path: Path) -> tuple[dict[str, Any], list[object]]:
    """Run every code cell in order; returns the namespace, and what each cell ends with, None for a statement."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    namespace: dict[str, Any] = {"__name__": "__notebook__"}
    shown: list[object] = []
    for number, cell in enumerate(cells, start=1):
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]), f"{path.name} cell {number}")
        last = tree.body[-1] if tree.body else None
        if isinstance(last, ast.Expr):
            tree.body.pop()
        exec(compile(tree, f"{path.name} cell {number}", "exec"), namespace)
        value = None
        if isinstance(last, ast.Expr):
            expression = ast.Expression(last.value)
            value = eval(compile(expression, f"{path.name} cell {number}", "eval"), namespace)
        shown.append(value)
    return namespace, shown
