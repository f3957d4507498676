"""What every benchmark tells: rows of figures, as a table and as JSON, judged by targets."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from balsam.cli.table import render

RED, PLAIN = "\x1b[31m", "\x1b[0m"


@dataclass(frozen=True)
class Row:
    """One figure, and the figure that it is compared with.

    `ratio`: how many times as good as the reference Balsam is. `target`: a floor for rates, a ceiling for
    times and loads. `ok`: None where there is no target, or where a quick run can't judge it. `value`: None
    for what can't be measured here.
    """

    name: str
    value: float | None
    unit: str
    reference: float | None
    ratio: float | None
    target: float | None
    ok: bool | None


def more_is_better(name: str, value: float, unit: str, reference: float | None, target: float | None) -> Row:
    """A rate: the target is a floor."""
    ratio = value / reference if reference else None
    return Row(name, value, unit, reference, ratio, target, None if target is None else value >= target)


def less_is_better(name: str, value: float, unit: str, reference: float | None, target: float | None) -> Row:
    """A time or a load: the target is a ceiling."""
    ratio = reference / value if reference and value else None
    return Row(name, value, unit, reference, ratio, target, None if target is None else value <= target)


def unjudged(row: Row) -> Row:
    """The row of a run that is too short to judge it."""
    return replace(row, ok=None)


def table(rows: Sequence[Row], reference: str, *, coloured: bool) -> str:
    """Aligned lines; those that miss their target say so, and are red where colours are shown."""
    header, *lines = render(["", "Balsam", reference, "ratio", "target", ""], map(_cells, rows)).splitlines()
    shown = [
        f"{RED}{line}{PLAIN}" if coloured and row.ok is False else line
        for row, line in zip(rows, lines, strict=True)
    ]
    return "\n".join([header, *shown])


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        "" if row.value is None else f"{_number(row.value)} {row.unit}",
        "" if row.reference is None else _number(row.reference),
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "" if row.target is None else _number(row.target),
        {True: "ok", False: "MISSED", None: "" if row.target is None else "not judged"}[row.ok],
    )


def _number(value: float) -> str:
    return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark takes."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("--quick", action="store_true", help="smaller counts; figures are rougher")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    return made


def publish(rows: Sequence[Row], json_file: Path | None, reference: str) -> int:
    """Prints the table and writes the file; the exit code: 1 if a row misses its target."""
    print(table(rows, reference, coloured=sys.stdout.isatty()), flush=True)
    if json_file:
        json_file.write_text(json.dumps({"rows": [asdict(row) for row in rows]}, indent=2) + "\n")
    return 1 if any(row.ok is False for row in rows) else 0
