"""A page on this machine that brings a browser into the dashboard.

The code that lets it in stands in a file that only its user reads: in an address it would be on a command
line, which all users of the machine can see, and in a history.
"""

from __future__ import annotations

import webbrowser
from html import escape
from pathlib import Path

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Balsam</title>
<form method="post" action="{address}"><input type="hidden" name="code" value="{code}">
<button>Open the dashboard</button></form>
<script>document.forms[0].submit()</script></html>
"""


def open_address(address: str) -> bool:
    """Opens an address that needs no secret; False where there is no browser."""
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False


def open_with(folder: Path, address: str, code: str) -> bool:
    """Lets a browser of this machine send the code to the address; False where there is no browser."""
    page = folder / "open.html"
    page.unlink(missing_ok=True)
    page.touch(mode=0o600)
    page.write_text(PAGE.format(address=escape(address), code=escape(code)), encoding="utf-8")
    try:
        return webbrowser.open(page.absolute().as_uri())
    except webbrowser.Error:
        return False
