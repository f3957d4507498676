"""Rows as aligned text."""

from collections.abc import Iterable, Sequence

from balsam.cli.printable import printable


def render(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lines with aligned columns, two spaces between them; the last column is not padded."""
    texts = [[printable(str(cell)) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in texts) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in texts
    )


def render_record(fields: Iterable[tuple[str, object]]) -> str:
    """One `name: value` line per field, aligned."""
    pairs = [(name, printable(str(value))) for name, value in fields]
    width = max((len(name) for name, _ in pairs), default=0)
    return "\n".join(f"{name + ':':<{width + 1}} {value}" for name, value in pairs)


def minute(text: str | None) -> str:
    """`2026-01-02 03:04` of the server's text for a time."""
    return (text or "")[:16].replace("T", " ")
