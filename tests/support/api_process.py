"""An API server as a process of its own, with a model of a few weights: python live.py HOME PORT [thread | process]."""

import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlplatform.clock import utc_now
from mlplatform.context import AppContext
from mlplatform.recording.process_writer import ProcessWriter
from mlplatform.serve.api_server import build_server
from mlplatform.serve.inference.model_slot import LoadedModel
from mlplatform.serve.run_server import serve
from mlplatform.settings import Settings
from pipelines.answers import ClassReader
from pipelines.batch import Batch
from pipelines.engines.inference_engine import InferenceEngine
from registry.model_contract import ImageInputs
from tests.support.platform_world import FakeCatalog

SECONDS_PER_ANSWER = 0.05


class Slow(InferenceEngine):
    """Takes its time, so that requests are under way when the process is told to end; needs no PyTorch to start."""

    def _predict_chunk(self, batch: Batch) -> NDArray[np.float32]:
        time.sleep(SECONDS_PER_ANSWER)
        return np.zeros((len(batch), len(self.classes)), dtype=np.float32)


def main(home: str, port: str, recorder: str = "thread") -> None:
    """Serve until told to end."""
    context = AppContext(Settings(_env_file=None, home=Path(home), recorder_flush_ms=1000), catalog=FakeCatalog())
    server = build_server(context, writer=ProcessWriter(context.settings.store_url) if recorder == "process" else None)
    predictor = Slow(ClassReader(tuple("0123456789")), ImageInputs(28, 28))
    server.model_slot.swap(LoadedModel(context.model_name, 1, predictor, utc_now()))
    serve(server, "127.0.0.1", int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
