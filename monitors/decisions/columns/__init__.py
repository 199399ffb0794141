"""Decisions about single columns of a table, from counts of their values."""
