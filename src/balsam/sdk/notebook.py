"""Queries as tables of a notebook: the first rows, every text escaped."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from balsam.sdk.model import Model
    from balsam.sdk.query import Query

ROWS = 20
CHARS = 120


def table(query: Query[Any]) -> str:
    """The first `ROWS` matches, and whether there are more; nothing is kept of what was fetched."""
    found: list[Model] = list(query[: ROWS + 1])
    if not found:
        return f"<p>{html.escape(repr(query))}: nothing matches</p>"
    names = found[0].COLUMNS or found[0].SHOWN
    rows = [[getattr(one, name) for name in names] for one in found[:ROWS]]
    more = f"<p>The first {ROWS} of more: <code>.count()</code> tells how many.</p>"
    return _html(names, rows) + more * (len(found) > ROWS)


def _html(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    lines = ["".join(f"<td>{html.escape(_text(value))}</td>" for value in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        pairs = (
            f"{key}={one if isinstance(one, str) else json.dumps(one, default=str)}"
            for key, one in value.items()
        )
        return _short(", ".join(pairs))
    return _short(f"{value:%Y-%m-%d %H:%M:%S}" if hasattr(value, "strftime") else str(value))


def _short(text: str) -> str:
    return text if len(text) <= CHARS else text[: CHARS - 1] + "…"
