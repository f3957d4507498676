"""Server-sent events: text lines in, messages out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True)
class ServerSentEvent:
    """One message of a stream; `beat` stands for a comment, which only says that the server lives."""

    name: str
    id: str | None = None
    data: Any = None


BEAT = ServerSentEvent("beat")


def parse(lines: Iterable[str]) -> Iterator[ServerSentEvent]:
    """Messages of a text/event-stream; data is parsed as JSON."""
    name, number, data = "message", None, list[str]()
    for line in lines:
        if line.startswith(":"):
            yield BEAT
        elif line:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "id":
                number = value
            elif field == "data":
                data.append(value)
        elif data:
            yield ServerSentEvent(name, number, orjson.loads("\n".join(data)))
            name, number, data = "message", None, []
