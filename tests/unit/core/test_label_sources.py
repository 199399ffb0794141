"""The sources of labels are the same in every room that may not import another."""

from __future__ import annotations

from typing import get_args

from mlplatform.feedback.label_precedence import LabelSource, SubmittedSource
from monitors.rules.rule import Source
from pipelines.labels import label_provenance


def test_every_room_means_the_same_sources() -> None:
    assert get_args(LabelSource) == get_args(label_provenance.LabelSource)
    assert set(get_args(SubmittedSource)) == set(get_args(Source)) == set(get_args(LabelSource)) - {"review"}
