"""Promise: over a year of real flights, alarms and promotions by day do no harm, where label by label both do.

Every departure from New York in 2013, as `examples/flights` reads it, answered by a version of January and February;
whether it was late is known at the end of the day. The platform's rule about accuracy (`platform init --task table`)
alarms, its pipeline trains on all rows until then, its gate compares, and its probation rolls back; once with a day as
one observation, once label by label. Beside it: never retraining, and retraining blindly each month on the last 45
days. Dates are those of the last day that was read. `--data-dir` names a folder with `flights/`; `--quick` takes every
fifth flight.
"""

import argparse
import json
import os
import sys
import tempfile
from datetime import UTC, datetime
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from benchmarks.tables.replay import figures
from benchmarks.tables.stream import TableStream, table_rules

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "flights"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="every fifth flight")
    parser.add_argument("--data-dir", type=Path, help="a folder with flights/flights.csv.gz; else the package index")
    parser.add_argument("--above", type=float, help="points of accuracy that the rule allows; 2 by its template")
    parser.add_argument("--only", choices=("block", "label"), help="leave out the other way of reading labels")
    arguments = parser.parse_args()
    if arguments.data_dir is not None and not (arguments.data_dir / "flights" / "flights.csv.gz").is_file():
        parser.error(f"there is no flights/flights.csv.gz in {arguments.data_dir}")
    stream = flights_stream(arguments.data_dir, quick=arguments.quick, points=arguments.above)
    with tempfile.TemporaryDirectory() as folder:
        told = figures(stream, Path(folder), arguments.only)
    print(json.dumps({**told, "load": os.getloadavg()[0]}))


def flights_stream(data_dir: Path | None, *, quick: bool, points: float | None) -> TableStream:
    """The year, sorted by schedule."""
    maker, pipeline = load_module(EXAMPLE / "make_flights.py"), load_module(EXAMPLE / "flights.py").PIPELINE
    frame = maker.make_flights(*maker.read_tables(None if data_dir is None else data_dir / "flights"))
    if quick:
        frame = frame[::5].reset_index(drop=True)
    rules = table_rules("flights")
    [written] = [each.above for each in rules.rules if each.metric == "accuracy_drop"]
    assert written is not None
    return TableStream(
        pipeline, frame, datetime(2013, 3, 1, tzinfo=UTC), rules, written if points is None else points / 100
    )


def load_module(path: Path) -> ModuleType:
    """A file of an example as a module."""
    spec = spec_from_file_location(f"benchmark_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
