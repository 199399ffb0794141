"""Promise: an evaluation costs the same however long the history, and 20 times less than plain Evidently at 1 M rows.

Fills a store with histories of 30 days and measures, each in a process of its own and within bounds of time and memory:
the platform's rules (`platform`), the same rules over all 30 days (`platform_30d`), Evidently's part after a decision
(`sample`), plain Evidently and NannyML on the whole table. Reading the database is included, importing is not.
`speedup_vs_evidently` compares wall times on the same rows, of the rules in `platform_30d` that judge what Evidently
computes: accuracy, errors by class, latency. `history_slope` is the cost of
`platform` at the largest history over the one at the smallest. A system that does not finish gets null and a reason.
"""

import argparse
import csv
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import text

from benchmarks.history import cells
from benchmarks.peers import NANNYML, environment
from mlplatform.ids import uuid7
from mlplatform.operations.scaffold import rules_template
from mlplatform.store.database import Database
from tests.support.history import fill, world

FULL: Final = (10_000, 100_000, 1_000_000, 10_000_000)
QUICK: Final = (2_000, 20_000)
SYSTEMS: Final = ("platform", "platform_30d", "sample", "evidently", "nannyml")
ALIKE: Final = ("accuracy-drop", "class-error", "latency")
ENDING: Final = {"seconds": "", "cpu_seconds": "_cpu"}
BYTES_PER_ROW: Final = 1_200
"""Room on the disk for one row, its indexes and the write-ahead log."""
QUIET: Final = {"OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
Cell = dict[str, Any]


class Bench:
    """What every cell shares: the kind of database, the bounds, and a folder that is removed at the end."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.server, self.seconds, self.mib = arguments.database, arguments.seconds, arguments.mib
        self.folder, self.quick = folder, arguments.quick

    @contextmanager
    def store(self) -> Iterator[str]:
        """The URL of an empty store that is removed afterwards."""
        if not self.server:
            path = self.folder / f"{uuid7()}.db"
            yield f"sqlite:///{path}"
            for each in self.folder.glob(f"{path.name}*"):
                each.unlink()
            return
        schema, server = f"benchmark_{uuid7()[-12:]}", Database(self.server)
        with server.write() as connection:
            connection.execute(text(f"CREATE SCHEMA {schema}"))
        try:
            yield f"{self.server}{'&' if '?' in self.server else '?'}options=-csearch_path%3D{schema}"
        finally:
            with server.write() as connection:
                connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))

    def run(self, name: str, *words: object, python: str = sys.executable, seconds: float | None = None) -> Cell:
        """One process; what it told, or why it told nothing."""
        command = [python, "-m", f"benchmarks.history.{name}", *map(str, words)]
        return cells.run(command, QUIET, seconds or self.seconds, self.mib)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 000 and 20 000 rows; two or three minutes")
    parser.add_argument("--database", default="", help="URL of a PostgreSQL server; SQLite files otherwise")
    parser.add_argument("--rows", help="sizes with commas between them")
    parser.add_argument("--seconds", type=float, default=600, help="time limit of each cell")
    parser.add_argument("--mib", type=float, default=6_144, help="memory limit of each cell")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was made is removed
    rows = [int(each) for each in arguments.rows.split(",")] if arguments.rows else QUICK if arguments.quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments, Path(folder))
        _prove(bench, 1_000 if bench.quick else 10_000)
        told = {"writes": _writes(bench)}
        nannyml = environment("nannyml", NANNYML)
        taken = [_history(bench, each, nannyml) for each in rows]
    print(json.dumps(figures(rows, taken) | told))


def figures(rows: Sequence[int], taken: Sequence[dict[str, Cell]]) -> dict[str, Any]:
    """The table of all cells, by system in the order of the rows."""
    told: dict[str, Any] = {"rows": list(rows)}
    for kind in ("seconds", "cpu_seconds", "peak_mib", "why_not"):
        told[kind] = {name: [each[name].get(kind) for each in taken] for name in SYSTEMS}
    for kind in ("seconds", "cpu_seconds"):
        told[f"rules_{kind}"] = [each["platform"].get(f"rules_{kind}") for each in taken]
        told[f"speedup_vs_evidently{ENDING[kind]}"] = [
            _ratio(each["evidently"].get(kind), _alike(each["platform_30d"].get(f"rules_{kind}"))) for each in taken
        ]
        told[f"history_slope{ENDING[kind]}"] = _ratio(told[kind]["platform"][-1], told[kind]["platform"][0])
    return told


def _alike(rules: Mapping[str, float] | None) -> float | None:
    """What the rules cost that judge the same numbers as the peers."""
    return None if rules is None else sum(rules[name] for name in ALIKE)


def _ratio(over: float | None, under: float | None) -> float | None:
    return None if over is None or not under else round(over / under, 2)


def _prove(bench: Bench, rows: int) -> None:
    """The bulk filling used below leaves the rows that the platform's own writers leave."""
    left = []
    for filling in (fill.by_writers, fill.in_bulk):
        with bench.store() as url:
            database = Database(url)
            database.upgrade()
            filling(database, rows, fill.prepare(database))
            left.append(fill.content(database))
            database.close()
    unlike = [name for name, found in left[0].items() if found != left[1][name]]
    if unlike:
        raise SystemExit(
            f"filling in bulk leaves other rows than the writers in {unlike}; see tests/support/history/fill.py"
        )
    print(f"{rows} rows in bulk are the rows of the platform's own writers")


def _writes(bench: Bench) -> Cell:
    with bench.store() as url:
        bench.run("fill", url, 0)
        told = bench.run("writing", url)
    print(f"writes, in microseconds: {told}")
    return told


def _history(bench: Bench, rows: int, nannyml: str | None) -> dict[str, Cell]:
    """Every system on one history."""
    if shutil.disk_usage(bench.folder).free < rows * BYTES_PER_ROW:
        return _none(f"less than {rows * BYTES_PER_ROW >> 20} MiB free on the disk")
    shipped, wide = _rules(bench.folder)
    rounds, repeats = (5, 3) if bench.quick else (9, 3 if rows <= FULL[1] else 2)
    with bench.store() as url:
        filled = bench.run("fill", url, rows, seconds=10 * bench.seconds)
        if "why_not" in filled:
            return _none(f"filling: {filled['why_not']}")
        print(f"{rows} rows, filled in {filled['seconds']} s")
        taken = {"evidently": bench.run("with_evidently", url, repeats)}  # before the platform's answers arrive
        taken["nannyml"] = (
            {"why_not": "its environment could not be made"}
            if nannyml is None
            else bench.run("with_nannyml", url, repeats, _reference(bench.folder), python=nannyml)
        )
        taken["platform"] = bench.run("turning", url, shipped, rounds, 0)
        taken["platform_30d"] = bench.run("turning", url, wide, rounds, 100)
        taken["sample"] = bench.run("examining", url, shipped, repeats)
    for name in SYSTEMS:
        print(f"  {name}: {taken[name]}", flush=True)
    return taken


def _none(reason: str) -> dict[str, Cell]:
    return {name: {"why_not": reason} for name in SYSTEMS}


def _rules(folder: Path) -> tuple[Path, Path]:
    """The shipped rules, and the same ones with all windows of 30 days."""
    shipped, wide = folder / "alerts.yaml", folder / "alerts-30d.yaml"
    lines = rules_template().splitlines()
    shipped.write_text("\n".join(lines), encoding="utf-8")
    widened = ("    window: 30d" if line.startswith("    window: ") else line for line in lines)
    wide.write_text("\n".join(widened), encoding="utf-8")
    return shipped, wide


def _reference(folder: Path) -> Path:
    """Ten thousand labelled answers of the month before, for NannyML to learn from."""
    path, length = folder / "reference.csv", timedelta(days=world.DAYS)
    given = world.span(world.START - length, length, 10_000, 0, [""], world.plan_of(10_000 / world.DAYS, 0), seed=1)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            (each.row["at"].isoformat(), each.row["label"], json.dumps(each.row["probabilities"]), each.truth)
            for each in given.answers
        )
    return path


if __name__ == "__main__":
    main()
