"""Names the class of hosts whose latencies may be compared with each other."""

import os
import platform
from functools import cache

from pipelines.engines.inference_engine import GPU_FILE


@cache
def host_class() -> str:
    """The host class of this machine: same machine type, cores and kind of GPU, however they were tuned."""
    return f"{platform.machine()}-{os.cpu_count()}cpu" + ("-gpu" if GPU_FILE.exists() else "")
