"""Fixtures of pipelines: tiny networks and pictures of bars."""

from tests.support.bars import bars, tiny  # noqa: F401
