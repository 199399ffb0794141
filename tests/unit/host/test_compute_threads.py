"""OpenMP's threads sleep while they wait, unless the user said otherwise; and the command line sees to it in time."""

import os
import subprocess
import sys

import pytest

from mlplatform.host.compute_threads import wait_without_spinning


@pytest.mark.parametrize(("before", "after"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_a_choice_somebody_made_stays(before: dict[str, str], after: str) -> None:
    environ = dict(before)
    wait_without_spinning(environ)
    assert environ == {"OMP_WAIT_POLICY": after}


def test_the_command_line_sets_it_before_pytorch_is_loaded() -> None:
    code = (
        "import os, sys\n"
        "from mlplatform import cli\n"
        "cli.app = lambda: print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)\n"
        "cli.main()\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    told = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True, timeout=60)
    assert told.stdout.split() == ["PASSIVE", "False"]
