"""Failures that look alike get the same signature: the return code and the line that tells the reason.

Paths are cut to their last part, and numbers become `#`: but for those that tell causes apart, such as those
of signals, exit codes and `errno`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from balsam.core.failure_text import exit_words, normal, reason_of

MAX_CHARS = 200


def failure_signature(return_code: int | None, text: str) -> str:
    """`<code>: <the line that tells why>`, normal; `text`: the end of the output, or its line."""
    code = "?" if return_code is None else str(return_code)
    return _cut(f"{code}: {normal(reason_of(return_code, text))}")


def _cut(found: str) -> str:
    return found if len(found) <= MAX_CHARS else f"{found[: MAX_CHARS - 1]}…"


def signature_of(data: Mapping[str, Any], return_code: int | None) -> str:
    """The signature of the failure that an event's data tell of."""
    code = "?" if return_code is None else str(return_code)
    return _cut(f"{code}: {normal(_line(data, return_code))}")


def _line(data: Mapping[str, Any], return_code: int | None) -> str:
    """The launcher's own word, where it sent one, or what the end of the output tells."""
    return str(data.get("reason") or "") or reason_of(return_code, str(data.get("error") or ""))


def failure(data: Mapping[str, Any]) -> str:
    """The reason in an event's data, as one line; empty where there is none."""
    code = data.get("returncode")
    known = code if type(code) is int else None
    line = _line(data, known)
    parts = [str(data["message"])] if data.get("message") else []
    if known is not None:
        ended = exit_words(known)
        parts.append(ended)
        line = "" if line and line in ended else line
    return ": ".join(parts + [line] * bool(line))
