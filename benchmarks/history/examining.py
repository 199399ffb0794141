"""The platform's use of Evidently after a decision: `python -m benchmarks.history.examining URL RULES REPEATS`.

A sample of the newest 20 000 answers of a 7-day window, with its HTML report. Prints one JSON object.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.history.cells import measured, peak_mib
from mlplatform.alerting import evaluations
from mlplatform.context import AppContext
from mlplatform.monitoring.evaluation_report import write_report
from mlplatform.settings import Settings

RULE: Final = "class-error"


def main() -> None:
    url, rules, repeats = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    with tempfile.TemporaryDirectory() as home:
        context = AppContext(Settings(_env_file=None, home=Path(home), database_url=url, alerts_file=rules))
        with context.database.read() as connection:
            newest = replace(evaluations.recent(connection, limit=1, rule=RULE)[0], state="suspect")
        rule = next(rule for rule in context.rules.rules if rule.name == RULE)
        from monitors.windows import evidently_adapter  # Evidently's import is no part of a look

        def look() -> dict[str, float]:
            found = write_report(context, rule, newest).measured
            if found is None:
                raise SystemExit("Evidently measured nothing; the log says why")
            return {"rows": found["n_predictions"], "most": evidently_adapter.MAX_ROWS}

        started = peak_mib()
        print(json.dumps(measured(look, repeats) | {"start_mib": started, "peak_mib": peak_mib()}))


if __name__ == "__main__":
    main()
