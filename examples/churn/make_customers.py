"""Writes customers who stay or leave into a folder, always the same for the same seed.

From a date on, another world: a price rise drives away those who pay most, and a plan appears that nobody knew.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

FIRST_DAY, CHANGE_DAY, LAST_DAY = (pd.Timestamp(day) for day in ("2026-01-01", "2026-08-01", "2026-10-31"))
PLANS, REGIONS = ("basic", "silver", "gold"), ("north", "south", "east", "west")


def make_customers(count: int, first: pd.Timestamp, last: pd.Timestamp, seed: int = 0) -> pd.DataFrame:
    """So many customers between two days, each once, in the order of their days."""
    rng = np.random.default_rng([seed, first.toordinal(), last.toordinal()])
    days = np.sort(rng.integers(0, (last - first).days + 1, count))
    day = first + pd.to_timedelta(days, unit="D")
    after = day >= CHANGE_DAY
    age = np.clip(rng.normal(45, 16, count).round(), 18, 95)
    plan = np.array(PLANS, dtype=object)[rng.choice(3, count, p=(0.55, 0.3, 0.15))]
    plan[after & (rng.random(count) < 0.15)] = "platinum"
    region = np.array(REGIONS, dtype=object)[rng.choice(4, count, p=(0.4, 0.3, 0.2, 0.1))]
    income = np.exp(rng.normal(7.9 + 0.15 * (plan == "gold"), 0.4, count)).round(2)
    balance = (rng.normal(300, 900, count) + 0.05 * income).round(2)
    weight = -0.6 - 1.6 * np.tanh((age - 40) / 18) - 0.0012 * balance + 0.9 * (plan == "basic") - 0.7 * (plan == "gold")
    weight += np.where(after, 2.4 * (plan != "basic") + 0.4 * (region == "west"), 0.0)
    churned = rng.random(count) < 1 / (1 + np.exp(-5.0 * weight))
    income[rng.random(count) < np.where(age < 25, 0.3, 0.08)] = np.nan
    plan[rng.random(count) < 0.02] = None
    return pd.DataFrame(
        {
            "customer_id": [f"c{first.year}{number:06d}" for number in rng.permutation(count)],
            "day": day,
            "age": age.astype(np.int64),
            "income": income,
            "balance": balance,
            "plan": plan,
            "region": region,
            "churned": np.where(churned, "yes", "no"),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Write customers.parquet into a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--until", type=pd.Timestamp, default=CHANGE_DAY - pd.Timedelta(days=1))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rows = make_customers(arguments.count, FIRST_DAY, arguments.until, arguments.seed)
    rows.to_parquet(arguments.folder / "customers.parquet", index=False)
    left = (rows["churned"] == "yes").mean()
    print(f"{len(rows)} customers until {arguments.until:%Y-%m-%d}, of whom {left:.1%} left")


if __name__ == "__main__":
    main()
