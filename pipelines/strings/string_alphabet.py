"""What a network of strings tells apart at each step: the ten digits, and blank."""

from __future__ import annotations

from typing import Final

DIGITS: Final = "0123456789"
BLANK: Final = len(DIGITS)
"""The class that stands for no character; the classes before it are the digits, in order."""
