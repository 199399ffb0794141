"""Attacks on the comparison of groups: answers that are wrong together, at the gap that is just allowed."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import numpy as np

from benchmarks.guarantee_attacks import Attack, share_attack
from benchmarks.guarantee_attacks.labels import CLASS, START
from monitors.decisions.decision import decide
from monitors.decisions.group_gap import count_by_group
from monitors.rules.alerts_config import Rule
from monitors.windows.window import Baseline
from monitors.windows.window_counts import Outcome, WindowCounts

LEVEL: Final = 0.05
GOLDEN: Final = Baseline(99, 100, {})
CLASSES: Final = (CLASS, "another")
GROUPS: Final = ("phone", "fax", "flatbed")
USUAL, ALLOWED = 0.06, 0.03


def run_attacks(quick: bool) -> Iterator[Attack]:
    """How often a look blames a group that is no worse than is allowed, by request or by day and label by label."""
    runs = 60 if quick else 600
    for name, block, blocks, size in (
        ("independent-labels", "request", 400, 1),
        ("requests-of-5-wrong-together", "request", 80, 5),
        ("requests-of-20-wrong-together", "request", 80, 20),
        ("days-of-20-labels-wrong-together", "1d", 60, 20),
    ):
        generator = np.random.default_rng(51)
        hits = before = 0
        for _ in range(runs):
            rows = _answers(generator, blocks, size)
            hits += _blames(gap_rule(block), rows)
            before += _blames(gap_rule("label"), rows)
        yield share_attack(f"group-gap-{name}", "1d", LEVEL, hits, runs, before / runs)


def gap_rule(block: str) -> Rule:
    """A rule about groups, whose every look may be wrong with a chance of 5 %."""
    return Rule.model_validate(
        {"name": "gap", "metric": "group_gap", "by": "scanner", "above": "3 points", "window": "90d"}
        | {"min_samples": 50, "confidence": 1 - LEVEL, "block": block}
    )


def _blames(rule: Rule, rows: list[Outcome]) -> bool:
    end = START + timedelta(days=rule.window.days)
    groups = count_by_group(rows, "scanner", rule.block)
    window = WindowCounts("digits", 1, CLASSES, START, end, len(rows), groups=groups)
    return any(finding.state == "breach" for finding in decide(rule, window, GOLDEN, {}))


def _answers(generator: np.random.Generator, blocks: int, size: int) -> list[Outcome]:
    """Blocks of answers of each group, each wrong as a whole or right; the first group is as bad as is allowed."""
    rows = []
    for group, errors in zip(GROUPS, (USUAL + ALLOWED, USUAL, USUAL), strict=True):
        for block, wrong in enumerate((generator.random(blocks) < errors).tolist()):
            at, said = START + timedelta(days=block), CLASSES[wrong]
            rows += [
                Outcome(
                    0, f"{group} {block} {place}", at, at, said, CLASS, "audit", {}, 0.9, tags={"scanner": group},
                    request_id=f"{group} {block}", loss=float(wrong),
                )
                for place in range(size)
            ]  # fmt: skip
    return rows
