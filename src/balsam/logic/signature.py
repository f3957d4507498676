"""Failures that look alike get the same signature: the return code and the last line without its numbers."""

import re

_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")
_PATHS = re.compile(r"(/[^\s:'\"]+)+/")
MAX_CHARS = 200


def failure_signature(return_code: int | None, tail: str) -> str:
    """`<code>: <last line with text>`, with paths cut to their last part and numbers as `#`."""
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    code = "?" if return_code is None else str(return_code)
    return f"{code}: {normal(last)}"[:MAX_CHARS]


def normal(line: str) -> str:
    """With paths cut to their last part and numbers as `#`."""
    return _NUMBERS.sub("#", _PATHS.sub("", line))
