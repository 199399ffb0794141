"""Opens an address in this machine's browser, where it has one that people see."""

import os
import sys
import webbrowser

DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


def open_in_browser(address: str) -> bool:
    """Whether a browser was started; never one that takes the terminal over, as on a server without a screen."""
    if sys.platform.startswith("linux") and not any(map(os.environ.get, DISPLAYS)) and not os.environ.get("BROWSER"):
        return False
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False
