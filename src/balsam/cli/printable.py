"""Text of strangers, made safe for a terminal."""

from __future__ import annotations

import re

# A terminal obeys these: it could be told to hide text, or to type.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CONTROL_BUT_RETURN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def printable(text: str, *, keep_returns: bool = False) -> str:
    """Control characters as `\\x1b`; but tabs and ends of lines, and where asked for carriage returns."""
    pattern = _CONTROL_BUT_RETURN if keep_returns else _CONTROL
    return pattern.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
