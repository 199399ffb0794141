"""Imports the pipeline that is named and prints what came of it: the child process of `platform doctor`.

`python -m mlplatform.operations.doctor.pipeline_import NAME [DATA_FOLDER]`. The last line of the output is a JSON
object; what the user's code prints itself goes to the standard error.
"""

import json
import os
import sys
import time
from pathlib import Path

from pipelines.discovery import find_pipeline


def main() -> None:
    """Print name, contract, seconds and the packages that the import brought in."""
    output = os.dup(1)
    os.dup2(2, 1)
    loaded, start = set(sys.modules), time.monotonic()
    name, *folders = sys.argv[1:]
    pipeline = find_pipeline(name, Path(folders[0]) if folders else None)
    seconds = time.monotonic() - start
    # Packages only: the modules beside them are the standard library's, and the file of the pipeline itself.
    added = {name.partition(".")[0] for name in set(sys.modules) - loaded if "." in name} - sys.stdlib_module_names
    document = {
        "name": pipeline.name,
        "contract": pipeline.contract.to_dict(),
        "seconds": seconds,
        "packages": sorted(name for name in added if not name.startswith("_")),
    }
    os.write(output, json.dumps(document).encode() + b"\n")


if __name__ == "__main__":
    main()
