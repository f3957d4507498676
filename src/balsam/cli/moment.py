"""Times on the command line: moments, or how long ago."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Moment(click.ParamType[datetime]):
    """A time, such as 2026-01-31T12:00 (UTC), or an age, such as 12h or 7d."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        text = str(value).strip()
        if text[:-1].isdecimal() and text[-1:] in _SECONDS:
            try:
                return datetime.now(UTC) - timedelta(seconds=int(text[:-1]) * _SECONDS[text[-1]])
            except (OverflowError, ValueError):
                self.fail(f"{text!r} is longer ago than any time", param, ctx)
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            self.fail(
                f"{text!r} is neither a time such as 2026-01-31T12:00 (UTC) nor an age such as 12h or 7d",
                param,
                ctx,
            )
        try:
            return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
        except OverflowError:
            self.fail(f"{text!r} is longer ago or later than any time", param, ctx)
