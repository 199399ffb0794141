"""One prediction request's way through a server, as timed stages for whoever observes; it knows no observer's format.

decode: bytes to pictures; queue: waiting for the model; infer: pictures to probabilities, of the whole batch; record:
handing the answer to the recorder. Times are nanoseconds of the performance counter.
"""

import time
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol

StageName = Literal["queue", "decode", "infer", "record"]
SECOND: Final = 1_000_000_000


class Stage(NamedTuple):
    """One stage, from when until when."""

    name: StageName
    begun: int
    ended: int

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.ended - self.begun) / SECOND


@dataclass
class Passage:
    """What is known of a request so far; `trace` is the `traceparent` that it came with."""

    begun: int = field(default_factory=time.perf_counter_ns)
    ended: int = 0
    stages: list[Stage] = field(default_factory=list)
    trace: str = ""
    request_id: str = ""
    version: int = 0
    role: str = ""
    prediction_ids: tuple[str, ...] = ()
    error: str = ""

    def note(self, name: StageName, begun: int) -> Stage:
        """A stage that began then has ended now; one that fails is no stage."""
        stage = Stage(name, begun, time.perf_counter_ns())
        self.stages.append(stage)
        return stage

    def inferred(self, seconds: float) -> None:
        """The model has answered, after so long; what went before since the last stage was waiting for it."""
        now, before = time.perf_counter_ns(), self.stages[-1].ended if self.stages else self.begun
        begun = max(before, now - round(seconds * SECOND))
        self.stages += [Stage("queue", before, begun), Stage("infer", begun, now)]

    @property
    def seconds(self) -> float:
        """From the beginning to the end."""
        return (self.ended - self.begun) / SECOND


class Underway:
    """How many requests are being answered now; entered and left on the event loop only, read from any thread."""

    def __init__(self) -> None:
        self.requests = 0

    def __enter__(self) -> None:
        self.requests += 1

    def __exit__(self, *_error: object) -> None:
        self.requests -= 1


class Observer(Protocol):
    """Who is told of every request that was answered or failed, from the thread that answered: it must be quick."""

    def passed(self, passage: Passage) -> None: ...
