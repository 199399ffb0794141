"""The recorder: predictions on their way to the database by a spool on disk; an answer fails only where that is full.

`put` returns once the rows are on disk, so a killed server loses none that it answered for; `last` waits for the disk
itself or for the commit, where that is wanted, together with all who wait meanwhile. One thread sends rows in their
order, in batches, and repeats a batch until its commit is known; the database takes an id once, so nothing is doubled.
While the database is away rows wait on disk, not in memory. The thread also sends what dead servers left on this disk,
and writes how many requests ended how.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from mlplatform.errors import RecordingError
from mlplatform.recording.db_writer import Writer
from mlplatform.recording.recording_counts import Counts as Counts
from mlplatform.recording.recording_counts import Totals
from mlplatform.recording.request_counts import RequestCounts
from mlplatform.recording.spool.codec import Answer as Answer
from mlplatform.recording.spool.codec import to_bytes
from mlplatform.recording.spool.directory import Shelf
from mlplatform.recording.spool.segment_files import Batch
from mlplatform.recording.spool.segment_log import Spool
from mlplatform.store.file_identity import StoreReplacedError
from mlplatform.store.timeouts import reserved

log = logging.getLogger(__name__)
RETRY_FIRST_SECONDS = 0.1
RETRY_LONGEST_SECONDS = 5.0
ADOPT_SECONDS = 10.0


class Recorder:
    """Sends answers in batches from its own thread; start it once, close it at the end.

    With `sync_seconds` an answer that `last` waits for is refused when its commit takes longer. `replaced` says whether
    the server found another database file than it had opened.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        shelf: Shelf,
        batch: int,
        flush_seconds: float,
        sync_seconds: float | None = None,
        sleep: Callable[[float], object] | None = None,
        requests: RequestCounts | None = None,
        adopt_seconds: float = ADOPT_SECONDS,
        replaced: Callable[[], bool] = lambda: False,
    ) -> None:
        self._writer, self._shelf = writer, shelf
        self._batch, self._flush_seconds, self._sync_seconds = batch, flush_seconds, sync_seconds
        self._in_a_hurry, self._idle = 0, False
        self._totals = Totals()
        self._waiters: dict[asyncio.Future[None], int] = {}
        """Who waits for a commit, each with the number of rows that must be settled."""
        self._syncing = ThreadPoolExecutor(1, thread_name_prefix="fsync")
        """One thread: those who wait behind a call share the next one."""
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._sleep = sleep or self._closing.wait
        self._requests = requests
        self._adopt_seconds, self._next_adoption = adopt_seconds, 0.0
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._delay, self._trouble, self._unreadable = RETRY_FIRST_SECONDS, "", ""
        self._store_replaced, self._replaced = False, replaced
        shelf.lost, shelf.damaged = self._count_dropped, self._count_damaged

    @property
    def waits(self) -> bool:
        """Whether rows must `last` before their answer is sent."""
        return self._sync_seconds is not None or self._shelf.fsync

    def start(self) -> None:
        """Take over what dead servers left, and begin sending."""
        self._adopt()
        self._thread.start()

    def put(self, answers: Sequence[Answer]) -> int:
        """Keep answers before they are sent; returns how many of them no database could take.

        Raises RecordingError, and keeps none, where they cannot be kept.
        """
        rows = [row for answer in answers if (row := self._row(answer)) is not None]
        try:
            if self._closing.is_set():
                raise RecordingError("this server is closing; ask another, or again in a moment")
            spool = self._shelf.append(rows) if rows else None
        except RecordingError as error:
            self._totals.add(refused=len(answers))
            refused = self._totals["refused"]
            if refused % 1000 < len(answers) or refused == len(answers):
                log.error("%d prediction(s) were refused so far: %s", refused, error)
            raise
        if self._idle or (spool is not None and spool.queued >= self._batch):
            with self._changed:
                self._changed.notify_all()  # a thread that is woken for every row takes its time from the answers
        return len(answers) - len(rows)

    async def last(self, answers: int) -> None:
        """Wait until all that was put so far outlives what the settings say: a loss of power, the loss of this disk.

        Raises RecordingError where it does not, or not in time; these answers are not to be given.
        """
        try:
            spool = self._shelf.own
            goal = 0 if spool is None else spool.appended
            if self._shelf.fsync:
                written = self._shelf.written  # now, not when the thread is free: later rows have waiters of their own
                await asyncio.get_running_loop().run_in_executor(self._syncing, self._shelf.sync, written)
            if self._sync_seconds is not None and spool is not None:
                async with asyncio.timeout(self._sync_seconds):
                    await self._commit(spool, goal)
        except RecordingError:
            self._totals.add(refused=answers)
            raise
        except TimeoutError:
            self._totals.add(refused=answers)
            raise RecordingError(
                f"the database did not commit the answer within {self._sync_seconds:g} s, so it is not given; its "
                "row may be recorded later (PLATFORM_SYNC_SECONDS, or PLATFORM_RECORDING=async not to wait)"
            ) from None

    def counts(self) -> Counts:
        """The counters now."""
        return self._totals.counts(
            queued=self._shelf.queued,
            set_aside=self._shelf.aside[0],
            replaced=self._store_replaced or self._replaced(),
        )

    @property
    def aside_since(self) -> str:
        """When the oldest file of rows was set aside that waits for a person; empty where none does."""
        return self._shelf.aside[1]

    def disk(self) -> tuple[int, int]:
        """How many bytes the spool takes on disk, and how many it may."""
        return self._shelf.size, self._shelf.limit

    def flush(self, timeout: float) -> bool:
        """Wait until everything this server kept so far is settled; False when the time ran out."""
        spool = self._shelf.own
        return spool is None or self._settled(spool, timeout)

    def close(self, timeout: float = 10.0) -> Counts:
        """Send what waits, at most for `timeout` seconds, and stop; what is left stays on disk for the next server."""
        self.flush(timeout)
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=max(2.0, timeout))
        if not self._thread.is_alive():
            self._writer.close()
        self._syncing.shutdown()
        counts = self.counts()
        self._shelf.close()
        if counts.queued:
            log.warning("%d prediction(s) wait in %s until a server starts there", counts.queued, self._shelf.root)
        return counts

    def _row(self, answer: Answer) -> bytes | None:
        try:
            return to_bytes(answer)
        except (TypeError, ValueError):
            log.exception("prediction %s cannot be recorded", answer.prediction.id)
            self._totals.add(failed=1)
            return None

    async def _commit(self, spool: Spool, goal: int) -> None:
        future = asyncio.get_running_loop().create_future()
        with self._changed:
            self._in_a_hurry += 1
            self._waiters[future] = goal
            self._changed.notify_all()
        try:
            if spool.settled < goal:  # else it was settled before it was waited for
                await future
        finally:
            with self._changed:
                self._in_a_hurry -= 1
                self._waiters.pop(future, None)

    def _tell_waiters(self, settled: int) -> None:
        """Let those go on whose rows are settled: once per event loop, because waking one is dear."""
        told: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        with self._changed:
            for future, goal in self._waiters.items():
                if goal <= settled:
                    told.setdefault(future.get_loop(), []).append(future)
        for loop, futures in told.items():
            with suppress(RuntimeError):  # the loop was closed, and everybody in it is gone
                loop.call_soon_threadsafe(_go_on, futures)

    def _settled(self, spool: Spool, timeout: float) -> bool:
        goal = spool.appended
        with self._changed:
            self._in_a_hurry += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: spool.settled >= goal, timeout)
            finally:
                self._in_a_hurry -= 1

    @reserved()
    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._round()
            except Exception:  # a thread's edge: whatever it was, the rows are on disk and the next round finds them
                log.exception("recording goes on")
                self._sleep(RETRY_LONGEST_SECONDS)
        if self._requests is not None:
            self._requests.write(now=True)

    def _round(self) -> None:
        """One batch of one's own and one of a dead server's; without any, a pause that ends with the next answer."""
        self._unreadable = ""
        own = self._shelf.own
        sent = self._send(own, self._shelf.instance) if own is not None else 0
        stuck = bool(self._unreadable)
        for held in list(self._shelf.adopted):
            rows = self._send(held.spool, held.instance)
            self._totals.add(adopted=rows)
            sent += rows
            if held.spool.queued == 0:
                self._shelf.part_with(held)
            if rows:
                break
        if self._requests is not None:
            self._requests.write()
        if time.monotonic() >= self._next_adoption:
            self._adopt()
        self._note_unreadable()
        if not sent:
            self._pause(stuck)

    def _note_unreadable(self) -> None:
        """Say once what cannot be read from disk, and once that it can again."""
        if self._unreadable != self._trouble:
            self._trouble = self._unreadable
            if self._trouble:
                log.error("rows wait on disk because they cannot be read now: %s", self._trouble)
            else:
                log.info("the rows that waited on disk can be read again")

    def _adopt(self) -> None:
        self._next_adoption = time.monotonic() + self._adopt_seconds
        try:
            self._shelf.adopt()
        except OSError as error:
            log.error("spools of dead servers cannot be taken over: %s", error)
        self._shelf.count_asides()

    def _pause(self, stuck: bool) -> None:
        """Wait for the next answer, or where one's own rows cannot be read, ever longer for the disk."""
        self._delay = min(self._delay * 2, RETRY_LONGEST_SECONDS) if stuck else RETRY_FIRST_SECONDS
        if stuck:
            self._sleep(self._delay)
            return
        with self._changed:
            self._idle = True  # before the rows are looked at: one that comes now wakes this thread
            woken = self._changed.wait_for(lambda: self._waiting() > 0 or self._closing.is_set(), timeout=1.0)
            self._idle = False
        if not woken and (own := self._shelf.own) is not None:
            own.tidy()  # what is recorded need not lie on disk twice: it may be personal, and erased from the table

    def _waiting(self) -> int:
        own = self._shelf.own
        return 0 if own is None else own.queued

    def _send(self, spool: Spool, instance: str) -> int:
        """Write the spool's next rows to the database; returns how many rows are settled by that."""
        if spool is self._shelf.own and 0 < spool.queued < self._batch:
            with self._changed:
                self._changed.wait_for(
                    lambda: spool.queued >= self._batch or self._in_a_hurry > 0 or self._closing.is_set(),
                    self._flush_seconds,
                )
        try:
            batch = spool.read(self._batch)
        except OSError as error:
            self._unreadable = str(error)
            return 0
        if batch is None or not self._written(batch, instance):
            return 0
        spool.settle(batch)
        with self._changed:
            self._changed.notify_all()
        if spool is self._shelf.own:
            self._tell_waiters(spool.settled)
        return batch.rows

    def _written(self, batch: Batch, instance: str) -> bool:
        """Whether every row of the batch is written or set aside; False when closing came first."""
        delay = RETRY_FIRST_SECONDS
        while not self._closing.is_set():
            try:
                refused = self._writer.write(batch.data, instance)
                unreadable = self._set_aside(batch, refused) if refused else 0
            except OSError as error:  # a store that is away is one of them
                self._store_replaced = isinstance(error, StoreReplacedError)
                log.warning("recording waits %.1f s: %s", delay, error)
                self._sleep(delay)
                delay = min(delay * 2, RETRY_LONGEST_SECONDS)
                continue
            self._store_replaced = False
            if unreadable:
                self._count_damaged(unreadable)
            self._totals.add(recorded=batch.rows - len(refused), failed=len(refused))
            return True
        return False

    def _set_aside(self, batch: Batch, refused: Sequence[int]) -> int:
        """Keep the rows that no database takes; returns how many of them are damaged. Raises OSError."""
        payloads, as_they_lie = batch.payloads(), batch.frames()
        whole = [payload for place in refused if (payload := payloads[place]) is not None]
        unreadable = [as_they_lie[place] for place in refused if payloads[place] is None]
        if unreadable:
            log.error("%d row(s) of the spool are damaged: their checksums do not agree", len(unreadable))
        self._shelf.set_aside(whole, unreadable)
        return len(unreadable)

    def _count_dropped(self, rows: int) -> None:
        self._totals.add(dropped=rows)
        with self._changed:
            self._changed.notify_all()

    def _count_damaged(self, rows: int) -> None:
        self._totals.add(damaged=rows)
        self._next_adoption = 0.0  # what lies aside is counted in this round


def _go_on(futures: Sequence["asyncio.Future[None]"]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
