"""Draws the strings that a network is taught with: glyphs, paper, writing, and what becomes of a scan."""
