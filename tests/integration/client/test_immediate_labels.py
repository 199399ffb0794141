"""Labels that the client sends while the rows of its predictions still wait in the spool: none is lost."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest

from mlplatform.client import ApiRequestError, AsyncClient, Client, Label
from mlplatform.client.results import FeedbackResult, PredictResponse
from mlplatform.feedback import label_records
from mlplatform.feedback.label_ingestion import match_pending_labels
from mlplatform.recording.recorder import Recorder
from mlplatform.recording.thread_writer import ThreadWriter
from mlplatform.serve.api_server import ApiServer
from mlplatform.serve.observability.prometheus_metrics import ServerMetrics
from tests.support.api_server import listening, spool_directory_in
from tests.support.platform_world import picture

GREY = picture(1)
Told = tuple[PredictResponse, tuple[FeedbackResult, ...]]


@dataclass(frozen=True)
class HeldWriter(ThreadWriter):
    """A writer that writes nothing before it is let go on."""

    going: threading.Event = field(default_factory=threading.Event)

    def write(self, data: bytes, instance: str) -> tuple[int, ...]:
        self.going.wait(60)
        return super().write(data, instance)


def by_client(address: str) -> Told:
    with Client(address) as client:
        answered = client.predict([GREY])
        return answered, client.feedback([Label(each.id, "4", "delayed", "ledger") for each in answered.predictions])


def by_async_client(address: str) -> Told:
    async def talk() -> Told:
        async with AsyncClient(address) as client:
            answered = await client.predict([GREY])
            labels = [Label(each.id, "4", "delayed", "ledger") for each in answered.predictions]
            return answered, await client.feedback(labels)

    return asyncio.run(talk())


def without_a_key(address: str) -> Told:
    with httpx.Client(base_url=address, timeout=30) as plain:
        answered = PredictResponse.from_json(plain.post("/v1/predict", json={"images": [GREY.tolist()]}).json())
        label = {"prediction_id": answered.predictions[0].id, "label": "4", "source": "delayed", "reviewer": "ledger"}
        return answered, tuple(FeedbackResult.from_json(each) for each in plain.post("/v1/feedback", json=label).json())


@contextmanager
def held(server: ApiServer, folder: Path) -> Iterator[tuple[ApiServer, str, threading.Event]]:
    """The server with a writer that is held, and where it listens."""
    writer = HeldWriter(server.context.database)
    recorder = Recorder(writer, spool_directory=spool_directory_in(folder), batch=10, flush_seconds=0)
    slow = replace(server, recorder=recorder, metrics=ServerMetrics("digits", server.model_slot.version, recorder))
    with listening(slow) as address:
        try:
            yield slow, f"http://{address}", writer.going
        finally:
            writer.going.set()


@pytest.mark.parametrize("talk", [by_client, by_async_client, without_a_key])
def test_a_label_sent_right_after_its_answer_waits_and_counts_when_the_row_is_written(
    server: ApiServer, tmp_path: Path, talk: Callable[[str], Told]
) -> None:
    with held(server, tmp_path) as (slow, address, going):
        answered, [taken] = talk(address)
        [row] = answered.predictions
        assert (taken.prediction_id, taken.outcome, taken.counts) == (row.id, "waiting", False)
        assert "no prediction of this id is recorded yet" in taken.note
        going.set()
        assert slow.recorder.flush(30)
        assert match_pending_labels(slow.context) == 1
        with slow.context.database.read() as connection:
            assert [each.label for each in label_records.current_labels(connection, row.id)] == ["4"]


def test_a_label_sent_for_the_id_of_the_request_is_refused_and_says_why(server: ApiServer, tmp_path: Path) -> None:
    with held(server, tmp_path) as (_, address, going), Client(address) as client:
        going.set()
        for request_id in ("", "0198c0de-0000-7000-8000-00000000c0de", "0198c0de-0000-8000-8000-00000000c0de"):
            answered = client.predict([GREY], request_id=request_id)
            with pytest.raises(ApiRequestError, match="the id of a request") as refused:
                client.feedback([Label(answered.request_id, "4", "delayed")])
            assert refused.value.status == 404
