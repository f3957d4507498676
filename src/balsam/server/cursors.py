"""Where a stream stands, as the opaque text that clients keep."""

from __future__ import annotations

from balsam.store.events import Position


def cursor_of(position: Position, epoch: str) -> str:
    return f"{epoch}:{position}"


def position_of(cursor: str, epoch: str) -> Position | None:
    """What a cursor stands for; None where it is of another database, or none at all."""
    theirs, _, text = cursor.partition(":")
    return Position.parse(text) if theirs == epoch else None
