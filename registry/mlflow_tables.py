"""Makes the tables of a new MLflow store in SQLite, whole or not at all."""

import os
from pathlib import Path
from typing import Final

BUILDING_SUFFIX: Final = ".building"


def create_tables(path: Path) -> None:
    """Make them in a file beside it that then takes its place; nothing is done where the store has content.

    MLflow makes them in the file itself, one migration after another: killed amid that, it never opens the file again.
    The caller holds the store's lock.
    """
    if path.exists() and path.stat().st_size:
        return
    from mlflow.store.db import utils

    for abandoned in path.parent.glob(f"{path.name}.*{BUILDING_SUFFIX}"):
        abandoned.unlink(missing_ok=True)
    building = path.with_name(f"{path.name}.{os.getpid()}{BUILDING_SUFFIX}")
    engine = utils.create_sqlalchemy_engine_with_retry(f"sqlite:///{building}")
    try:
        utils._initialize_tables(engine)
    finally:
        engine.dispose()
    building.replace(path)
