"""Channels that notices go out through: one file per type, listed in `adapters.py`."""
