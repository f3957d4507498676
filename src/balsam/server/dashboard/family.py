"""Where a job's parents and children are drawn: three columns, the job in the middle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BOX_WIDTH, BOX_HEIGHT, GAP, COLUMN_GAP = 200, 44, 14, 90
SHOWN = 8


@dataclass(frozen=True, slots=True)
class Box:
    id: int
    label: str
    state: str
    x: int
    y: int
    is_link: bool


@dataclass(frozen=True, slots=True)
class Family:
    """`lines`: from the right side of a box to the left side of another, as (x1, y1, x2, y2)."""

    boxes: list[Box]
    lines: list[tuple[int, int, int, int]]
    width: int
    height: int


def drawn(
    parents: Sequence[Mapping[str, Any]], job: Mapping[str, Any], children: Sequence[Mapping[str, Any]]
) -> Family:
    """Of each side at most SHOWN; a parent that is gone is a box without a state."""
    columns = [list(parents[:SHOWN]), [job], list(children[:SHOWN])]
    rows = max(len(column) for column in columns)
    height = rows * (BOX_HEIGHT + GAP) - GAP
    boxes: list[Box] = []
    for place, column in enumerate(columns):
        top = (height - (len(column) * (BOX_HEIGHT + GAP) - GAP)) // 2
        x = place * (BOX_WIDTH + COLUMN_GAP)
        boxes += [_box(one, x, top + n * (BOX_HEIGHT + GAP), place != 1) for n, one in enumerate(column)]
    middle = next(box for box in boxes if not box.is_link)
    lines = [_line(box, middle) for box in boxes[: len(columns[0])]]
    lines += [_line(middle, box) for box in boxes[len(columns[0]) + 1 :]]
    return Family(boxes, lines, 3 * BOX_WIDTH + 2 * COLUMN_GAP, height)


def _box(row: Mapping[str, Any], x: int, y: int, is_link: bool) -> Box:
    label = str(row["workdir"])
    return Box(row["id"], label if len(label) <= 24 else f"…{label[-23:]}", row["state"], x, y, is_link)


def _line(left: Box, right: Box) -> tuple[int, int, int, int]:
    half = BOX_HEIGHT // 2
    return left.x + BOX_WIDTH, left.y + half, right.x, right.y + half
