"""Writes what a project of Label Studio is made from into a folder."""

import json
from pathlib import Path
from typing import Final

from mlplatform.errors import InvalidInputError
from mlplatform.feedback.label_studio.task_export import LabelStudioProject

TASKS_NAME: Final = "tasks.json"
CONFIG_NAME: Final = "labelling.xml"


def create_folder(folder: Path) -> None:
    """Make the folder, before inputs are held for it; raises InvalidInputError where tasks lie in it already."""
    if (folder / TASKS_NAME).exists():
        raise InvalidInputError(
            f"{folder / TASKS_NAME} exists; import it into Label Studio first, or name another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"folder {folder} cannot be made ({error}); name another with --out") from error


def write_project(project: LabelStudioProject, folder: Path) -> tuple[Path, Path]:
    """Write the tasks and the labelling configuration; returns both files. Tasks that exist are never replaced."""
    tasks, config = folder / TASKS_NAME, folder / CONFIG_NAME
    config.write_text(project.label_config, encoding="utf-8")
    with tasks.open("x", encoding="utf-8") as file:
        json.dump(project.tasks, file, ensure_ascii=False, indent=1)
    return tasks, config
