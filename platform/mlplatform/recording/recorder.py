"""Records predictions: appends them to a spool on disk before they are sent, and writes them to the database later.

`append` returns once the rows are on disk, so a killed server loses none that it sent. `wait_durable` waits for the
disk itself or for the commit, where the settings want it, together with all who wait meanwhile. One thread sends rows
in their order, in batches, and repeats a batch until its commit is known; the database takes an id once, so nothing is
doubled. While the database is away rows wait on disk, not in memory. The thread also sends what dead servers left on
this disk, and writes how many requests ended how.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from mlplatform.errors import RecordingError
from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.recording.recording_counts import RecorderCounters
from mlplatform.recording.recording_counts import RecorderCounts as RecorderCounts
from mlplatform.recording.request_counts import RequestCounts
from mlplatform.recording.spool.directory import SpoolDirectory
from mlplatform.recording.spool.record_format import encode_prediction
from mlplatform.recording.spool.segment_files import RowBatch
from mlplatform.recording.spool.segment_log import SegmentLog
from mlplatform.recording.thread_writer import Writer
from mlplatform.store.file_identity import StoreReplacedError
from mlplatform.store.timeouts import reserved_connections

log = logging.getLogger(__name__)
INITIAL_RETRY_SECONDS = 0.1
MAX_RETRY_SECONDS = 5.0
ADOPTION_INTERVAL_SECONDS = 10.0


class Recorder:
    """Sends predictions in batches from its own thread; start it once, close it at the end.

    With `sync_seconds`, `wait_durable` refuses a prediction whose commit takes longer. `store_replaced` says whether
    the server found another database file than it had opened.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        spool_directory: SpoolDirectory,
        batch: int,
        flush_seconds: float,
        sync_seconds: float | None = None,
        sleep: Callable[[float], object] | None = None,
        request_counts: RequestCounts | None = None,
        adopt_seconds: float = ADOPTION_INTERVAL_SECONDS,
        store_replaced: Callable[[], bool] = lambda: False,
    ) -> None:
        self._writer, self._spool_directory = writer, spool_directory
        self._batch, self._flush_seconds, self._sync_seconds = batch, flush_seconds, sync_seconds
        self._urgent_waiters, self._idle = 0, False
        self._counters = RecorderCounters()
        self._waiters: dict[asyncio.Future[None], int] = {}
        """Who waits for a commit, each with the number of rows that must be settled."""
        self._sync_executor = ThreadPoolExecutor(1, thread_name_prefix="fsync")
        """One thread: those who wait behind a call share the next one."""
        self._condition = threading.Condition()
        self._closing = threading.Event()
        self._sleep = sleep or self._closing.wait
        self._request_counts = request_counts
        self._adopt_seconds, self._next_adoption = adopt_seconds, 0.0
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._delay, self._logged_read_error, self._read_error = INITIAL_RETRY_SECONDS, "", ""
        self._write_found_replaced_store, self._is_store_replaced = False, store_replaced
        spool_directory.on_lost, spool_directory.on_damaged = self._on_rows_lost, self._on_rows_damaged

    @property
    def must_wait(self) -> bool:
        """Whether `wait_durable` has to be awaited before predictions are sent."""
        return self._sync_seconds is not None or self._spool_directory.fsync

    def start(self) -> None:
        """Take over what dead servers left, and begin sending."""
        self._adopt_spools()
        self._thread.start()

    def append(self, predictions: Sequence[PredictionWithInput]) -> int:
        """Keep predictions on disk before they are sent; returns how many of them no database could take.

        Raises RecordingError, and keeps none, where they cannot be kept.
        """
        rows = [row for prediction in predictions if (row := self._encode_row(prediction)) is not None]
        try:
            if self._closing.is_set():
                raise RecordingError("this server is closing; ask another, or again in a moment")
            spool = self._spool_directory.append(rows) if rows else None
        except RecordingError as error:
            self._counters.add(refused=len(predictions))
            refused = self._counters["refused"]
            if refused % 1000 < len(predictions) or refused == len(predictions):
                log.error("%d prediction(s) were refused so far: %s", refused, error)
            raise
        if self._idle or (spool is not None and spool.queued_rows >= self._batch):
            with self._condition:
                self._condition.notify_all()  # a thread that is woken for every row takes its time from the requests
        return len(predictions) - len(rows)

    async def wait_durable(self, prediction_count: int) -> None:
        """Wait until all that was appended so far outlives what the settings say: a loss of power, of this disk.

        Raises RecordingError where it does not, or not in time; these predictions are not to be sent.
        """
        try:
            spool = self._spool_directory.own
            goal = 0 if spool is None else spool.appended_rows
            if self._spool_directory.fsync:
                # read now, not when the thread is free: later rows have waiters of their own
                goal_bytes = self._spool_directory.appended_bytes
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._sync_executor, self._spool_directory.sync, goal_bytes)
            if self._sync_seconds is not None and spool is not None:
                async with asyncio.timeout(self._sync_seconds):
                    await self._wait_for_commit(spool, goal)
        except RecordingError:
            self._counters.add(refused=prediction_count)
            raise
        except TimeoutError:
            self._counters.add(refused=prediction_count)
            raise RecordingError(
                f"the database did not commit the answer within {self._sync_seconds:g} s, so it is not given; its "
                "row may be recorded later (PLATFORM_SYNC_SECONDS, or PLATFORM_RECORDING=async not to wait)"
            ) from None

    def counts(self) -> RecorderCounts:
        """The counters now."""
        return self._counters.counts(
            queued=self._spool_directory.queued_rows,
            set_aside=self._spool_directory.quarantine_status[0],
            replaced=self._write_found_replaced_store or self._is_store_replaced(),
        )

    @property
    def quarantined_since(self) -> str:
        """When the oldest file of rows was set aside that waits for a person; empty where none does."""
        return self._spool_directory.quarantine_status[1]

    def disk_usage(self) -> tuple[int, int]:
        """How many bytes the spool takes on disk, and how many it may."""
        return self._spool_directory.size_bytes, self._spool_directory.limit_bytes

    def flush(self, timeout: float) -> bool:
        """Wait until everything this server appended so far is settled; False when the time ran out."""
        spool = self._spool_directory.own
        return spool is None or self._wait_until_settled(spool, timeout)

    def close(self, timeout: float = 10.0) -> RecorderCounts:
        """Send what waits, at most for `timeout` seconds, and stop; what is left stays on disk for the next server."""
        self.flush(timeout)
        self._closing.set()
        with self._condition:
            self._condition.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=max(2.0, timeout))
        if not self._thread.is_alive():
            self._writer.close()
        self._sync_executor.shutdown()
        counts = self.counts()
        self._spool_directory.close()
        if counts.queued:
            log.warning(
                "%d prediction(s) wait in %s until a server starts there", counts.queued, self._spool_directory.root
            )
        return counts

    def _encode_row(self, prediction: PredictionWithInput) -> bytes | None:
        try:
            return encode_prediction(prediction)
        except (TypeError, ValueError):
            log.exception("prediction %s cannot be recorded", prediction.prediction.id)
            self._counters.add(failed=1)
            return None

    async def _wait_for_commit(self, spool: SegmentLog, goal: int) -> None:
        future = asyncio.get_running_loop().create_future()
        with self._condition:
            self._urgent_waiters += 1
            self._waiters[future] = goal
            self._condition.notify_all()
        try:
            if spool.settled_rows < goal:  # else it was settled before it was waited for
                await future
        finally:
            with self._condition:
                self._urgent_waiters -= 1
                self._waiters.pop(future, None)

    def _resolve_waiters(self, settled: int) -> None:
        """Wake those whose rows are settled: once per event loop, because waking one is expensive."""
        settled_futures: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        with self._condition:
            for future, goal in self._waiters.items():
                if goal <= settled:
                    settled_futures.setdefault(future.get_loop(), []).append(future)
        for loop, futures in settled_futures.items():
            with suppress(RuntimeError):  # the loop was closed, and everybody in it is gone
                loop.call_soon_threadsafe(_resolve, futures)

    def _wait_until_settled(self, spool: SegmentLog, timeout: float) -> bool:
        goal = spool.appended_rows
        with self._condition:
            self._urgent_waiters += 1
            self._condition.notify_all()
            try:
                return self._condition.wait_for(lambda: spool.settled_rows >= goal, timeout)
            finally:
                self._urgent_waiters -= 1

    @reserved_connections()
    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._send_pending()
            except Exception:  # a thread's edge: whatever it was, the rows are on disk and the next round finds them
                log.exception("recording goes on")
                self._sleep(MAX_RETRY_SECONDS)
        if self._request_counts is not None:
            self._request_counts.write(now=True)

    def _send_pending(self) -> None:
        """Send one batch of this server's and one of a dead one's; without any, pause until the next prediction."""
        self._read_error = ""
        own = self._spool_directory.own
        sent = self._send_batch(own, self._spool_directory.instance) if own is not None else 0
        stuck = bool(self._read_error)
        for adopted in list(self._spool_directory.adopted_spools):
            rows = self._send_batch(adopted.spool, adopted.instance)
            self._counters.add(adopted=rows)
            sent += rows
            if adopted.spool.queued_rows == 0:
                self._spool_directory.release(adopted)
            if rows:
                break
        if self._request_counts is not None:
            self._request_counts.write()
        if time.monotonic() >= self._next_adoption:
            self._adopt_spools()
        self._log_read_errors()
        if not sent:
            self._wait_for_work(stuck)

    def _log_read_errors(self) -> None:
        """Say once what cannot be read from disk, and once that it can again."""
        if self._read_error != self._logged_read_error:
            self._logged_read_error = self._read_error
            if self._logged_read_error:
                log.error("rows wait on disk because they cannot be read now: %s", self._logged_read_error)
            else:
                log.info("the rows that waited on disk can be read again")

    def _adopt_spools(self) -> None:
        self._next_adoption = time.monotonic() + self._adopt_seconds
        try:
            self._spool_directory.adopt()
        except OSError as error:
            log.error("spools of dead servers cannot be taken over: %s", error)
        self._spool_directory.refresh_quarantine_status()

    def _wait_for_work(self, stuck: bool) -> None:
        """Wait for the next prediction, or where this server's rows cannot be read, ever longer for the disk."""
        self._delay = min(self._delay * 2, MAX_RETRY_SECONDS) if stuck else INITIAL_RETRY_SECONDS
        if stuck:
            self._sleep(self._delay)
            return
        with self._condition:
            self._idle = True  # before the rows are counted: one that comes now wakes this thread
            woken = self._condition.wait_for(lambda: self._own_queued_rows() > 0 or self._closing.is_set(), timeout=1.0)
            self._idle = False
        if not woken and (own := self._spool_directory.own) is not None:
            # What is recorded need not lie on disk twice: it may be personal, and erased from the table.
            own.remove_sent_segments()

    def _own_queued_rows(self) -> int:
        own = self._spool_directory.own
        return 0 if own is None else own.queued_rows

    def _send_batch(self, spool: SegmentLog, instance: str) -> int:
        """Write the spool's next rows to the database; returns how many rows are settled by that."""
        if spool is self._spool_directory.own and 0 < spool.queued_rows < self._batch:
            with self._condition:
                self._condition.wait_for(
                    lambda: spool.queued_rows >= self._batch or self._urgent_waiters > 0 or self._closing.is_set(),
                    self._flush_seconds,
                )
        try:
            batch = spool.read(self._batch)
        except OSError as error:
            self._read_error = str(error)
            return 0
        if batch is None or not self._write_until_settled(batch, instance):
            return 0
        spool.settle(batch)
        with self._condition:
            self._condition.notify_all()
        if spool is self._spool_directory.own:
            self._resolve_waiters(spool.settled_rows)
        return batch.row_count

    def _write_until_settled(self, batch: RowBatch, instance: str) -> bool:
        """Write the batch, or set rows of it aside, however long it takes; False when closing came first."""
        delay = INITIAL_RETRY_SECONDS
        while not self._closing.is_set():
            try:
                refused = self._writer.write(batch.data, instance)
                unreadable = self._quarantine_rows(batch, refused) if refused else 0
            except OSError as error:  # a store that is away is one of them
                self._write_found_replaced_store = isinstance(error, StoreReplacedError)
                log.warning("recording waits %.1f s: %s", delay, error)
                self._sleep(delay)
                delay = min(delay * 2, MAX_RETRY_SECONDS)
                continue
            self._write_found_replaced_store = False
            if unreadable:
                self._on_rows_damaged(unreadable)
            self._counters.add(recorded=batch.row_count - len(refused), failed=len(refused))
            return True
        return False

    def _quarantine_rows(self, batch: RowBatch, refused: Sequence[int]) -> int:
        """Set the rows aside that no database takes; returns how many of them are damaged. Raises OSError."""
        payloads, frames = batch.payloads(), batch.frames()
        intact = [payload for index in refused if (payload := payloads[index]) is not None]
        unreadable = [frames[index] for index in refused if payloads[index] is None]
        if unreadable:
            log.error("%d row(s) of the spool are damaged: their checksums do not agree", len(unreadable))
        self._spool_directory.quarantine(intact, unreadable)
        return len(unreadable)

    def _on_rows_lost(self, rows: int) -> None:
        self._counters.add(dropped=rows)
        with self._condition:
            self._condition.notify_all()

    def _on_rows_damaged(self, rows: int) -> None:
        self._counters.add(damaged=rows)
        self._next_adoption = 0.0  # what was set aside is counted in this round


def _resolve(futures: Sequence["asyncio.Future[None]"]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
