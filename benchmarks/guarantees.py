"""Promise: every guarantee the decisions state holds under the attacks that broke it, within its Monte-Carlo error.

Each attack is a simulation against the code that decides: rules about labels, the gate, the comparison of versions on
probation, rules without labels. It is held against the budget or level that the product promises, and is broken where
it is over that by more than twice the standard error of the simulation. `--quick` takes about two minutes on one core
and knows rates to about a third; the run in full takes about half an hour. `--only` names modules of attacks.
"""

import argparse
import importlib
import json
import pkgutil
import time
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, Final

from benchmarks import guarantee_attacks
from benchmarks.guarantee_attacks import Attack

_HEADER: Final = ("section", "attack", "promised", "measured", "error", "unit", "verdict", "before")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions of each attack")
    parser.add_argument("--only", help="names of modules of attacks, with commas")
    arguments = parser.parse_args()
    wanted = None if arguments.only is None else set(arguments.only.split(","))
    modules = attack_modules(wanted)
    print(f"{_HEADER[0]:<8} {_HEADER[1]:<56} " + " ".join(f"{word:>10}" for word in _HEADER[2:]), flush=True)
    attacks = [
        attack for module in modules if hasattr(module, "run_attacks") for attack in _run(module, arguments.quick)
    ]
    print(json.dumps(summary(attacks, modules, quick=arguments.quick)))


def attack_modules(wanted: set[str] | None = None) -> list[ModuleType]:
    """The modules of the package, in the order of their names; one may hold figures alone."""
    names = [found.name for found in pkgutil.iter_modules(guarantee_attacks.__path__)]
    return [
        importlib.import_module(f"{guarantee_attacks.__name__}.{name}")
        for name in names
        if wanted is None or name in wanted
    ]


def summary(attacks: Sequence[Attack], modules: Iterable[ModuleType], *, quick: bool) -> dict[str, Any]:
    """The figures of the last line."""
    worst = max(attacks, key=lambda attack: attack.ratio, default=None)
    figures: dict[str, Any] = {
        "attacks": len(attacks),
        "within_budget": sum(attack.verdict == "within" for attack in attacks),
        "broken": [attack.name for attack in attacks if attack.verdict == "broken"],
        "worst_ratio": None if worst is None else round(worst.ratio, 3),
        "worst_attack": None if worst is None else worst.name,
        "median_labels": {},
        "disagreement_labels_minus1": None,
    }
    for module in modules:
        if hasattr(module, "median_labels"):
            figures["median_labels"] |= {key: list(pair) for key, pair in module.median_labels(quick).items()}
        if hasattr(module, "disagreement_labels"):
            figures["disagreement_labels_minus1"] = module.disagreement_labels(quick)
    return figures


def _run(module: ModuleType, quick: bool) -> Iterable[Attack]:
    began = time.process_time()
    for attack in module.run_attacks(quick):
        print(_row(attack), flush=True)
        yield attack
    print(f"   {module.__name__.rsplit('.', 1)[-1]}: {time.process_time() - began:.0f} s of processor time", flush=True)


def _row(attack: Attack) -> str:
    before = "" if attack.before is None else f"{attack.before:.3g}"
    numbers = (f"{value:.3g}" for value in (attack.promised, attack.measured, attack.monte_carlo_error))
    cells = (*numbers, attack.unit, attack.verdict, before)
    return f"{attack.section:<8} {attack.name:<56} " + " ".join(f"{cell:>10}" for cell in cells)


if __name__ == "__main__":
    main()
