"""Says what caused a training, and which code carries it out."""

from pathlib import Path

from registry.runs import git_revision, provenance_tags


def training_tags(trigger: str) -> dict[str, str]:
    """The tags of a training's run and version."""
    return provenance_tags(trigger, code_revision())


def code_revision() -> str | None:
    """The git revision of this code, None where it is installed without its checkout."""
    return git_revision(Path(__file__).parent)
