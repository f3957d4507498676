"""Numbers and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

from balsam.core.failure_text import telling_line

NOTHING = "-"


def duration(seconds: float | None) -> str:
    """`0.24 s`, `3 min 20 s`, `2 h 5 min`, `4 d 3 h`."""
    if seconds is None:
        return NOTHING
    if seconds < 59.95:
        return f"{number(seconds)} s"
    whole = round(seconds)
    for unit, smaller, size, part in (("min", "s", 60, 1), ("h", "min", 3600, 60), ("d", "h", 86400, 3600)):
        if whole < size * (60 if unit == "min" else 24) or unit == "d":
            many, rest = divmod(whole, size)
            return f"{many} {unit} {rest // part} {smaller}" if rest // part else f"{many} {unit}"
    raise AssertionError("days are the last")


def number(value: float | None) -> str:
    """Three digits or all before the point: `0.0123`, `4.56`, `78.9`, `12,345`."""
    if value is None:
        return NOTHING
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    digits = f"{value:.3g}"
    return digits if "e" not in digits else f"{value:.1e}"


def matters(part: float, whole: float) -> bool:
    """Whether a part is more than what clocks are off by."""
    return part > 0.01 * whole


def share(value: float | None) -> str:
    """`87 %`; `0.3 %`, `99.7 %` where that would else be nothing or all."""
    if value is None:
        return NOTHING
    percent = 100 * value
    near = 0 < percent < 1 or 99 < percent < 100
    return f"{percent:.2g} %" if near and percent < 1 else f"{percent:.1f} %" if near else f"{percent:.0f} %"


def moment(time: datetime | None) -> str:
    """`2026-01-02 03:04:05` (UTC)."""
    return NOTHING if time is None else time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def counted(number_of: int, noun: str) -> str:
    """`1 job`, `1,234 jobs`."""
    return f"{number_of:,} {noun}{'' if number_of == 1 else 's'}"


def group(name: str | int | float | None) -> str:
    """A group's name; what has none, such as jobs without the tag, is `(none)`."""
    if name is None:
        return "(none)"
    return number(name) if isinstance(name, float) else str(name)


def grouping(by: str) -> str:
    """What `group_by` says, for a heading: `app`, `BatchJob`, `tag size`."""
    return {"batch_job": "BatchJob"}.get(by, by.replace(":", " ", 1))


def reason(text: str, width: int = 160) -> str:
    """The line of an output's end that tells why a run failed."""
    return cut(telling_line(text), width)


def cut(line: str, width: int) -> str:
    """A line of `width` characters at most, which shows where it was cut."""
    return line if len(line) <= width else line[: width - 1] + "…"
