"""No test is given less time than the others: on a busy machine it would fail without a fault."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
LIMIT = re.compile(r"mark\.timeout\((\d+)")


def test_no_test_has_less_time_than_the_default() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    default = document["tool"]["pytest"]["ini_options"]["timeout"]
    limits = {
        f"{path.relative_to(ROOT)}: {found[0]}": int(found[1])
        for folder in ("tests", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for found in LIMIT.finditer(path.read_text())
    }
    assert limits, "the pattern finds the marks"
    assert [place for place, seconds in limits.items() if seconds < default] == []
