"""The tags that say where a run came from: code, machine and cause."""

import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

MANUAL_TRIGGER = "manual"
TRIGGER_TAG = "mlplatform.trigger"
COMMIT_TAG = "mlflow.source.git.commit"


def git_revision(folder: Path) -> str | None:
    """The commit checked out in `folder`, with `-dirty` when files differ; None outside a git checkout."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(folder), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def provenance_tags(trigger: str = MANUAL_TRIGGER, revision: str | None = None) -> dict[str, str]:
    """The tags every run carries: what caused it, which code, which interpreter and libraries."""
    tags = {
        TRIGGER_TAG: trigger,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "mlplatform",
        "mlplatform.python": platform.python_version(),
        "mlplatform.platform": platform.platform(),
        "mlplatform.torch": installed_version("torch"),
        "mlplatform.mlflow": installed_version("mlflow"),
    }
    return tags | ({COMMIT_TAG: revision} if revision else {})


def installed_version(package: str) -> str:
    """The installed version of a package, `absent` when it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"
