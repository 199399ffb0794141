"""Reads labelled rows from a DataFrame, and splits them in time: what judges a model is newer than what trained it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.data import Examples, Split, split_by_group
from pipelines.errors import DataError
from pipelines.inputs.table_codec import TableCodec
from pipelines.table.columns import named_series, seconds_of, table_batch
from registry.model_contract import Column

GOLDEN_SHARE: Final = 0.2
VALIDATION_SHARE: Final = 0.1
FEWEST_ROWS: Final = 100
"""With fewer, the golden rows could not tell a good model from a bad one."""


@dataclass(frozen=True)
class RowRoles:
    """Which columns of a DataFrame are not inputs, and what they are."""

    target: str
    time: str | None = None
    group: str | None = None


def labelled_rows(
    frame: pd.DataFrame, columns: Sequence[Column], roles: RowRoles, classes: Sequence[str], name: str
) -> Examples:
    """The rows with their classes, times, groups and keys; raises DataError naming column, row and value."""
    codec = TableCodec(tuple(columns))
    batch = table_batch(frame, columns)
    labels = class_codes(named_series(frame, roles.target), classes)
    times = None if roles.time is None else _times(named_series(frame, roles.time))
    groups = () if roles.group is None else _groups(named_series(frame, roles.group))
    rows = Examples(batch, labels, name, codec.rows, groups=groups, times=times)
    return replace(rows, keys=_keys(rows))


def class_codes(target: pd.Series, classes: Sequence[str]) -> NDArray[np.int64]:
    """The position of each truth among the classes; raises DataError for the first that is none of them."""
    places = {name: place for place, name in enumerate(classes)}
    codes = np.zeros(len(target), dtype=np.int64)
    missing = target.isna().to_numpy()
    for row, value in enumerate(target.astype(object).to_list()):
        if missing[row]:
            raise DataError(
                f"the target {target.name!r}, row {target.index[row]!r}: no class is there; leave out rows whose "
                "outcome is not known yet"
            )
        text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        if text not in places:
            raise DataError(
                f"the target {target.name!r}, row {target.index[row]!r}: {value!r:.80} is no class of the task; "
                f"known: {', '.join(classes)}"
            )
        codes[row] = places[text]
    return codes


def split_rows(rows: Examples, block_seconds: int | None = None) -> Split:
    """The sides: golden has the newest fifth of the rows, validation the tenth before it; a group is on one side only.

    Rows of one stretch of `block_seconds` go wrong together, so a side ends where a stretch does, unless the stretches
    are so few that a side would have none, or training less than half: then within one. Where rows have no time,
    groups, or else rows, are dealt by their hash. Raises DataError where a side is too small.
    """
    if len(rows) < FEWEST_ROWS:
        raise DataError(
            f"{rows.name} has {len(rows)} labelled rows; at least {FEWEST_ROWS} are needed to train and judge a model"
        )
    if rows.times is None:
        shares = {"train": 1 - GOLDEN_SHARE - VALIDATION_SHARE, "validation": VALIDATION_SHARE, "golden": GOLDEN_SHARE}
        split = split_by_group(rows, shares)
    else:
        split = _split_in_time(rows, rows.times, block_seconds)
        if block_seconds is not None and not _are_fitting(split):
            split = _split_in_time(rows, rows.times, None)
    for part in ("train", "validation", "golden"):
        if not len(getattr(split, part)):
            raise DataError(
                f"no row of {rows.name} is left for its {part} side, because its groups are few or large "
                f"({len(set(rows.groups))} groups, {len(rows)} rows); give rows of more groups, or no group"
            )
    if len(np.unique(split.train.labels)) < 2:
        raise DataError(
            f"all {len(split.train)} rows of {rows.name} that may train have one class; give rows of at least two"
        )
    return split


def _are_fitting(split: Split) -> bool:
    """Whether each side has rows, and training at least half of them."""
    judging = len(split.validation) + len(split.golden)
    return len(split.train) >= judging and len(split.validation) > 0 and len(split.golden) > 0


def _split_in_time(rows: Examples, times: NDArray[np.float64], block_seconds: int | None) -> Split:
    """Whole groups, the one with the newest row first, until each side is full; rows of one time go by their hash.

    All groups whose newest rows are of one stretch of `block_seconds` are on one side.
    """
    known = rows.groups or ("",) * len(rows)
    owners = [f"group {group}" if group else f"row {key}" for group, key in zip(known, rows.ids, strict=True)]
    newest: dict[str, float] = {}
    for owner, time in zip(owners, times.tolist(), strict=True):
        newest[owner] = max(time, newest.get(owner, time))
    sizes, sides, dealt = Counter(owners), dict[str, str](), 0
    side_of: dict[float, str] = {}
    full = {
        "golden": round(GOLDEN_SHARE * len(rows)),
        "validation": round((GOLDEN_SHARE + VALIDATION_SHARE) * len(rows)),
    }
    for owner in sorted(newest, key=lambda owner: (-newest[owner], hashlib.sha256(owner.encode()).digest())):
        open_side = next((side for side, until in full.items() if dealt < until), "train")
        stretch = None if block_seconds is None else newest[owner] // block_seconds
        sides[owner] = open_side if stretch is None else side_of.setdefault(stretch, open_side)
        dealt += sizes[owner]
    part_of = np.array([sides[owner] for owner in owners])
    return Split(
        **{
            part: replace(rows.take(part_of == part), name=f"{rows.name}/{part}")
            for part in ("train", "validation", "golden", "stream")
        }
    )


def _times(series: pd.Series) -> NDArray[np.float64]:
    seconds = seconds_of(series)
    for row in np.flatnonzero(np.isnan(seconds))[:1]:
        raise DataError(f"the time {series.name!r}, row {series.index[row]!r}: none is there; give every row one")
    return seconds


def _groups(series: pd.Series) -> tuple[str, ...]:
    """Each row's group as a text, empty where it is not known."""
    whole = pd.api.types.is_float_dtype(series.dtype)  # an id beside missing ones: 7.0 is 7
    return tuple(
        "" if missing else str(int(value)) if whole and float(value).is_integer() else str(value)
        for value, missing in zip(series.astype(object).to_list(), series.isna().to_list(), strict=True)
    )


def _keys(rows: Examples) -> tuple[str, ...]:
    """What identifies each row: its content, time and group, and its number among rows that share all of them.

    Equal customers are two customers: their content alone would make one of them.
    """
    times = np.zeros(len(rows)) if rows.times is None else rows.times
    groups = rows.groups or ("",) * len(rows)
    seen: Counter[str] = Counter()
    keys = []
    for content, time, group in zip(rows.content_hashes, times.tolist(), groups, strict=True):
        event = f"{content} {time!r} {group}"
        keys.append(hashlib.sha256(f"{event} {seen[event]}".encode()).hexdigest())
        seen[event] += 1
    return tuple(keys)
