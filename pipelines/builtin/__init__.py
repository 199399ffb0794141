"""Pipelines that come with the platform."""
