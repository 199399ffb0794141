"""Renders heat maps of explanations in the calling thread, or in a process of its own.

PyTorch and Captum take 300 MiB and seconds to import, in which other threads stand still. In a process of its own that
burdens no answer, and where memory is short only explanations are refused.

As a program (`python -m mlplatform.serve.inference.heatmaps`) it is that process: a line of JSON in, a line of JSON
out. It ends when its input does, which is when the server ends or dies.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from mlplatform.serve.inference.request_decoder import GreyImage
from pipelines.errors import ModelFormatError, ModelUnreadableError
from pipelines.image.grey_png import decode_png, encode_png

if TYPE_CHECKING:
    from pipelines.image.grad_cam import GradCamExplainer

MAX_CACHED_MODELS: Final = 3
TIMEOUT_SECONDS: Final = 60.0
"""After so long a process that gives no answer is ended; its first one is preceded by large imports."""
RESTART_DELAY_SECONDS: Final = 30.0
"""For so long no process is started after one died, so that a machine without memory is not kept busy with that."""
COMMAND: Final = (sys.executable, "-P", "-m", "mlplatform.serve.inference.heatmaps")


@dataclass(frozen=True)
class Heatmap:
    """The class that is shown and the one that was answered, how much each place speaks for it, and a picture (PNG)."""

    index: int
    answer: int
    heat: list[list[float]]
    overlay: str


class HeatmapRenderer(Protocol):
    """What makes heat maps."""

    def render(self, model: Path, classes: Sequence[str], image: GreyImage, class_index: int | None) -> Heatmap:
        """The map of a class, that of the answer unless another is asked for; threads may share it.

        Raises ModelFormatError for a model that has none, ModelUnreadableError where none can be made now.
        """

    def close(self) -> None:
        """Give up what is held."""


class ThreadHeatmapRenderer:
    """Makes them in the thread that asks, one at a time; the few models asked about last stay open."""

    def __init__(self) -> None:
        self._explainers: OrderedDict[Path, GradCamExplainer] = OrderedDict()
        self._lock = threading.Lock()

    def render(self, model: Path, classes: Sequence[str], image: GreyImage, class_index: int | None) -> Heatmap:
        with self._lock:
            explainer = self._explainer(model, tuple(classes))
            from pipelines.image.grad_cam import render_overlay  # loaded by now, with the explainer

            answered = explainer(image)
            found = answered if class_index is None else explainer(image, class_index)
            heat = [[round(float(value), 4) for value in line] for line in found.heat]
            png = b64encode(render_overlay(image, found.heat)).decode()
            return Heatmap(found.class_index, answered.class_index, heat, png)

    def close(self) -> None:
        self._explainers.clear()

    def _explainer(self, model: Path, classes: tuple[str, ...]) -> "GradCamExplainer":
        found = self._explainers.get(model)
        if found is None:
            found = self._explainers[model] = _load_explainer(model, classes)
        self._explainers.move_to_end(model)
        while len(self._explainers) > MAX_CACHED_MODELS:
            self._explainers.popitem(last=False)
        return found


def _load_explainer(model: Path, classes: tuple[str, ...]) -> "GradCamExplainer":
    try:
        from pipelines.engines.torch_engine import load_torch_engine
        from pipelines.image.grad_cam import GradCamExplainer
    except (ImportError, MemoryError, OSError) as error:
        raise ModelUnreadableError(f"PyTorch, which explains, cannot be loaded now ({error}); try again") from error
    return GradCamExplainer(load_torch_engine(model, classes).module, len(classes))


class ProcessHeatmapRenderer:
    """Makes them in a process that is started when first needed, one at a time."""

    def __init__(
        self,
        command: Sequence[str] = COMMAND,
        timeout_seconds: float = TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command, self._timeout_seconds, self._clock = command, timeout_seconds, clock
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._restart_after = -RESTART_DELAY_SECONDS
        self._closed = False

    def render(self, model: Path, classes: Sequence[str], image: GreyImage, class_index: int | None) -> Heatmap:
        picture = b64encode(encode_png(image)).decode()
        asked = {"model": str(model), "classes": list(classes), "picture": picture, "index": class_index}
        with self._lock:
            reply = self._request(json.dumps(asked).encode() + b"\n")
        if "format" in reply:
            raise ModelFormatError(reply["format"])
        if "now" in reply:
            raise ModelUnreadableError(reply["now"])
        return Heatmap(**reply)

    def close(self) -> None:
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()  # whoever waits for it goes on
            with self._lock:
                _stop_process(process)

    def _request(self, request_line: bytes) -> dict[str, Any]:
        process = self._ensure_process()
        request_pipe, reply_pipe = process.stdin, process.stdout
        assert request_pipe is not None
        assert reply_pipe is not None
        end = threading.Timer(self._timeout_seconds, process.kill)
        end.start()
        try:
            request_pipe.write(request_line)
            request_pipe.flush()
            reply: dict[str, Any] = json.loads(reply_pipe.readline())
        except (OSError, ValueError) as error:  # it died, or was ended because it took too long
            code = _stop_process(process)
            self._process, self._restart_after = None, self._clock() + RESTART_DELAY_SECONDS
            raise ModelUnreadableError(f"the process that explains ended with code {code}; try again") from error
        finally:
            end.cancel()
        return reply

    def _ensure_process(self) -> "subprocess.Popen[bytes]":
        if self._process is not None:
            if self._process.poll() is None:
                return self._process
            _stop_process(self._process)
            self._process = None
        if self._closed or self._clock() < self._restart_after:
            raise ModelUnreadableError("the process that explains ended a moment ago; try again")
        try:
            self._process = subprocess.Popen(  # noqa: S603 - a module of this product
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for the server
            )
        except (OSError, subprocess.SubprocessError, MemoryError) as error:
            self._restart_after = self._clock() + RESTART_DELAY_SECONDS
            raise ModelUnreadableError(f"no process can be started that explains ({error}); try again") from error
        return self._process


def _stop_process(process: "subprocess.Popen[bytes]") -> int:
    """End a process, whatever it does, and give its pipes back; returns its code."""
    process.kill()
    code = process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError, AttributeError):
            pipe.close()  # type: ignore[union-attr]
    return code


def main() -> None:
    """Answer until the input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the input's end is the word to end
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        os.nice(5)  # answers come first
    answering = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    mapper = ThreadHeatmapRenderer()
    for line in sys.stdin.buffer:
        answering.write(json.dumps(_handle_request(mapper, json.loads(line))).encode() + b"\n")
        answering.flush()


def _handle_request(renderer: HeatmapRenderer, heatmap_request: dict[str, Any]) -> dict[str, Any]:
    image = np.ascontiguousarray(decode_png(b64decode(heatmap_request["picture"])))
    try:
        return asdict(
            renderer.render(Path(heatmap_request["model"]), heatmap_request["classes"], image, heatmap_request["index"])
        )
    except ModelFormatError as error:
        return {"format": str(error)}
    except (ModelUnreadableError, MemoryError, OSError, RuntimeError) as error:  # torch has no error for its memory
        return {"now": str(error) or type(error).__name__}


if __name__ == "__main__":
    main()
