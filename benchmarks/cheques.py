"""Promise: a photographed cheque is decided within a second on one core, and every decision is in the audit trail.

500 cheques are rendered (`--quick`: 60): drawn forms, photographed or scanned by chance, around real handwritten
amounts: of the test part of a folder in ORAND-CAR-A's form (`--data-dir`), each of which comes about twice then, or of
bundled digits. `platform train` makes a version of the pipeline `strings` first, whose training saw none of them, and
`platform serve` answers; the application of `examples/cheques` runs here and asks it over HTTP. Its threshold is chosen
on rendered cheques of the validation part, for at most `--risk` of the accepted amounts wrong.

Server and application share one core for `seconds_p50` and `seconds_p95`, from the file to the committed decision, one
cheque after the other. `cheques_per_hour` is that of four threads with two cores. `audit_verified` says that every
decision is in the application's trail, the trail is whole, and the platform's own (`platform audit verify`) as well.
Rendering and training are not counted. Last line: one JSON object. Needs OpenCV (`pip install ./examples/cheques`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlplatform.host.processes import ProcessGroup, free_port, http_ok
from mlplatform.operations.local_stack import platform_command
from pipelines.evaluation.classification_scores import wilson_interval
from pipelines.evaluation.risk_coverage import AcceptedShare, point_at

if TYPE_CHECKING:
    from cheques.processing import ChequeProcessor
    from cheques.rendering.sample_cheques import SampleCheque

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "cheques"
FULL, QUICK = 500, 60
VALIDATION_FULL, VALIDATION_QUICK = 300, 60
HURRIED_SHARE = 5
"""One cheque in so many is rendered once more for the throughput, with another serial number."""
THREADS = 4
OTHER_RISKS = (0.02, 0.05, 0.1)
READY_SECONDS = 120.0
MAX_LIMIT = 10**11


def main() -> None:
    arguments = _arguments()
    sys.path.insert(0, str(EXAMPLE))
    if find_spec("cv2") is None:
        print(json.dumps({"skipped": "no OpenCV: pip install ./examples/cheques, or opencv-python-headless"}))
        return
    with tempfile.TemporaryDirectory(prefix="cheques-") as folder:
        print(json.dumps(measure(arguments, Path(folder))))


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train, serve, choose the threshold, present all cheques; what came of it."""
    from cheques.amount_reading import platform_client
    from cheques.operating_point import choose_operating_point, judged_readings
    from cheques.rendering.handwriting import amount_writer
    from cheques.rendering.sample_cheques import sample_accounts, sample_cheques

    count = arguments.count or (QUICK if arguments.quick else FULL)
    cores = sorted(os.sched_getaffinity(0))
    known = sample_accounts()
    environment = _environment(folder, arguments.data_dir)
    trained = _platform(environment, folder, "train", "--json")
    with _served(environment, folder) as (address, server), platform_client(address, None) as client:
        writer = amount_writer(arguments.data_dir, "validation")
        validation = VALIDATION_QUICK if arguments.quick else VALIDATION_FULL
        judged = list(judged_readings(client, sample_cheques(writer, known, validation, seed=1)))
        [point, *others] = choose_operating_point(judged, (arguments.risk, *OTHER_RISKS))
        writer = amount_writer(arguments.data_dir, "test")
        samples = list(sample_cheques(writer, known, count, seed=2))
        hurried = list(sample_cheques(writer, known, max(THREADS, count // HURRIED_SHARE), seed=3))
        processor = _processor(folder, point.threshold, client)
        slow = _one_core(processor, samples, server, cores)
        per_hour = _throughput(processor, hurried, server, cores)
        reading = _judged(processor, samples, slow["ids"], others)
        time.sleep(2)  # answers are on the way from the server's log to its database
        audit = _audit(processor, environment, folder, count + len(hurried))
    return {
        "cheques": count,
        "handwriting": "bundled digits" if arguments.data_dir is None else str(arguments.data_dir),
        "golden_accuracy": trained["golden_accuracy"],
        "threshold": point.threshold,
        "validation": {"cheques": point.rows, "accepted": point.accepted, "wrong": point.wrong},
        **reading,
        "seconds_p50": slow["p50"],
        "seconds_p95": slow["p95"],
        "cpu_seconds": slow["cpu"],
        "cheques_per_hour": per_hour,
        "cores": min(2, len(cores)),
        **audit,
    }


def _processor(folder: Path, threshold: float, client: Any) -> ChequeProcessor:  # noqa: ANN401 - the client
    """The application, with accounts that are all open and without limits: what is judged is the reading."""
    from cheques.account_table import put_accounts
    from cheques.decision import Account
    from cheques.processing import ChequeProcessor
    from cheques.rendering.sample_cheques import sample_accounts
    from cheques.settings import Settings
    from cheques.store import Store

    settings = Settings(
        database_url=f"sqlite:///{folder / 'cheques.db'}",
        threshold=threshold,
        largest_unseen=MAX_LIMIT,
        largest_lawful=MAX_LIMIT,
        sample_share=0.0,
        concurrent_readings=THREADS,
    )
    store = Store(settings.database_url)
    open_accounts = [Account(account.key, account.holder, True, MAX_LIMIT) for account in sample_accounts()]
    with store.write() as connection:
        put_accounts(connection, open_accounts, "benchmark", datetime.now(UTC))
    return ChequeProcessor(settings, store, client)


def _one_core(
    processor: ChequeProcessor, samples: Sequence[SampleCheque], server: int, cores: list[int]
) -> dict[str, Any]:
    """Present the cheques one after the other, with application and server on one core."""
    _pin(server, cores[:1])
    seconds, ids = [], []
    spent = time.process_time() + _cpu_seconds(server)
    for sample in samples:
        started = time.perf_counter()
        ids.append(processor.present(sample.picture))
        seconds.append(time.perf_counter() - started)
    spent = time.process_time() + _cpu_seconds(server) - spent
    p50, p95 = np.percentile(seconds, [50, 95])
    return {
        "ids": ids,
        "p50": round(float(p50), 4),
        "p95": round(float(p95), 4),
        "cpu": round(spent / len(samples), 4),
    }


def _throughput(processor: ChequeProcessor, samples: Sequence[SampleCheque], server: int, cores: list[int]) -> int:
    """Cheques an hour with several at once, on two cores."""
    _pin(server, cores[:2])
    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(processor.present, [sample.picture for sample in samples]))
    return round(3600 * len(samples) / (time.perf_counter() - started))


def _judged(
    processor: ChequeProcessor, samples: Sequence[SampleCheque], ids: Sequence[str], others: Sequence[AcceptedShare]
) -> dict[str, Any]:
    """How many were accepted, and how many of these with another amount or for another cheque than was written.

    `others` are what other thresholds, which validation chose as well, would have accepted.
    """
    from cheques.processing import find_cheque

    with processor.store.read() as connection:
        rows = [find_cheque(connection, cheque_id) for cheque_id in ids]
    pairs = list(zip(rows, samples, strict=True))
    accepted = [(row, sample) for row, sample in pairs if row["outcome"] == "accept"]
    wrong = sum((row["amount"], row["code"]) != (sample.amount, sample.code.text) for row, sample in accepted)
    confidences = np.array([row["reading"]["confidence"] for row in rows], np.float64)
    right = np.array([(row["amount"], row["code"]) == (sample.amount, sample.code.text) for row, sample in pairs])
    curve = [(other.risk, point_at(confidences, right, other.threshold)) for other in others]
    low, high = wilson_interval(wrong, len(accepted)) if accepted else (0.0, 1.0)
    return {
        "accepted": round(len(accepted) / len(rows), 4),
        "error_among_accepted": round(wrong / max(1, len(accepted)), 4),
        "error_interval": [round(low, 4), round(high, 4)],
        "wrong_among_accepted": wrong,
        "at_other_risks": [
            {"risk": risk, "accepted": round(point.accepted, 4), "error": round(point.error, 4)}
            for risk, point in curve
        ],
        "refused": sum(row["outcome"] == "refuse" for row in rows),
        "amounts_right": round(sum(row["amount"] == sample.amount for row, sample in pairs) / len(rows), 4),
        "code_lines_right": round(sum(row["code"] == sample.code.text for row, sample in pairs) / len(rows), 4),
        "amount_fields_found": round(sum(row["reading"]["writing"] is not None for row in rows) / len(rows), 4),
    }


def _audit(processor: ChequeProcessor, environment: dict[str, str], folder: Path, count: int) -> dict[str, Any]:
    """Whether each decision stands in the application's trail, and both trails are whole."""
    from cheques import audit_verification

    with processor.store.read() as connection:
        report = audit_verification.verify(connection, with_pictures=True)
    processor.store.close()
    platform = _platform(environment, folder, "audit", "verify", "--json")
    return {
        "audit_verified": not report.faults and report.cheques == count and not platform.get("faults"),
        "audit_entries": report.entries,
        "audit_predictions": platform.get("answers"),
    }


def _environment(folder: Path, data_dir: Path | None) -> dict[str, str]:
    """The platform's settings, and nothing of this shell's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PLATFORM_")}
    given = {} if data_dir is None else {"PLATFORM_DATA_DIR": str(data_dir.resolve())}
    return {
        **kept,
        **given,
        "PLATFORM_HOME": str(folder / "home"),
        "PLATFORM_PIPELINE": "strings",
        "PLATFORM_MODEL": "strings",
        "PLATFORM_PORT": str(free_port()),
    }


def _platform(environment: dict[str, str], folder: Path, *words: str) -> dict[str, Any]:
    """What a command of the platform says as JSON; it must succeed."""
    done = subprocess.run(
        platform_command(*words), cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"platform {' '.join(words)} ended with code {done.returncode}: {done.stdout[-2000:]}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@contextmanager
def _served(environment: dict[str, str], folder: Path) -> Iterator[tuple[str, int]]:
    """The address and the process of a server that has loaded the version."""
    address = f"http://127.0.0.1:{environment['PLATFORM_PORT']}"
    with ProcessGroup(folder / "logs", cwd=folder) as group:
        server = group.start("api", platform_command("serve"), environment)
        group.wait_healthy(server, http_ok(f"{address}/readyz"), READY_SECONDS)
        yield address, server.process.pid


def _pin(server: int, cores: list[int]) -> None:
    """Let this process and the server's, with its children and all their threads, run on these cores alone."""
    for process in (os.getpid(), *_family(server)):
        for thread in Path(f"/proc/{process}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)


def _family(process: int) -> list[int]:
    """A process and its children, and theirs."""
    found = [process]
    for thread in Path(f"/proc/{process}/task").iterdir():
        for child in (thread / "children").read_text().split():
            found += _family(int(child))
    return found


def _cpu_seconds(server: int) -> float:
    """Processor time of the server and its children so far."""
    ticks = os.sysconf("SC_CLK_TCK")
    fields = [Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split() for process in _family(server)]
    return sum(int(field[11]) + int(field[12]) for field in fields) / ticks


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data-dir", type=Path, help="a folder with labels.jsonl and images/, as ORAND-CAR-A is kept")
    parser.add_argument("--risk", type=float, default=0.01, help="the error among accepted amounts that is aimed at")
    parser.add_argument("--count", type=int, help=f"how many cheques, instead of {FULL}")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} cheques: the way through, not the promise")
    return parser.parse_args()


if __name__ == "__main__":
    main()
