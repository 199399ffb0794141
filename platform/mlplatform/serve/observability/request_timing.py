"""Times the stages of one prediction request, for metrics and traces.

decode: bytes to pictures; queue: waiting for the model; infer: pictures to probabilities, of the whole batch; record:
handing the answer to the recorder. Times are nanoseconds of the performance counter.
"""

import time
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol

StageName = Literal["queue", "decode", "infer", "record"]
NS_PER_SECOND: Final = 1_000_000_000


class StageTiming(NamedTuple):
    """One stage, from when until when."""

    name: StageName
    started_ns: int
    ended_ns: int

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.ended_ns - self.started_ns) / NS_PER_SECOND


@dataclass
class RequestTiming:
    """What is known of a request so far; `traceparent` is the header that it came with."""

    started_ns: int = field(default_factory=time.perf_counter_ns)
    ended_ns: int = 0
    stages: list[StageTiming] = field(default_factory=list)
    traceparent: str = ""
    request_id: str = ""
    version: int = 0
    role: str = ""
    prediction_ids: tuple[str, ...] = ()
    error: str = ""

    def record_stage(self, name: StageName, started_ns: int) -> StageTiming:
        """A stage that began then has ended now; one that fails is no stage."""
        stage = StageTiming(name, started_ns, time.perf_counter_ns())
        self.stages.append(stage)
        return stage

    def record_inference(self, seconds: float) -> None:
        """The model has answered, after so long; what went before since the last stage was waiting for it."""
        now_ns, last_ended_ns = time.perf_counter_ns(), self.stages[-1].ended_ns if self.stages else self.started_ns
        started_ns = max(last_ended_ns, now_ns - round(seconds * NS_PER_SECOND))
        self.stages += [StageTiming("queue", last_ended_ns, started_ns), StageTiming("infer", started_ns, now_ns)]

    @property
    def seconds(self) -> float:
        """From the beginning to the end."""
        return (self.ended_ns - self.started_ns) / NS_PER_SECOND


class InFlight:
    """How many requests are being answered now; entered and left on the event loop only, read from any thread."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, *_error: object) -> None:
        self.count -= 1


class RequestObserver(Protocol):
    """Who is told of every request that was answered or failed, from the thread that answered: it must be quick."""

    def on_finished(self, timing: RequestTiming) -> None: ...
