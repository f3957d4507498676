"""From values and times to places on a drawing, and where its ticks are: values in, values out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MINUTE, HOUR, DAY = 60, 3600, 86400
_STEPS: tuple[float, ...] = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(many * MINUTE for many in (1, 2, 5, 10, 15, 30)),
    *(many * HOUR for many in (1, 2, 3, 6, 12)),
    *(many * DAY for many in (1, 2, 7, 14, 28, 91, 182, 364)),
)


_DECADES = (0.001, 0.01, 0.1, 1.0, 10.0, MINUTE, 10 * MINUTE, HOUR, 10 * HOUR, 4 * DAY, 40 * DAY)


@dataclass(frozen=True, slots=True)
class Tick:
    """`at`: from 0 to 1 along the axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Times:
    """A span of time that is an axis; never empty."""

    start: datetime
    end: datetime

    @classmethod
    def over(cls, moments: Sequence[datetime]) -> Times | None:
        """From the first to the last of some moments, None without any."""
        if not moments:
            return None
        start, end = min(moments), max(moments)
        return cls(start, max(end, start + timedelta(milliseconds=1)))

    def at(self, moment: datetime) -> float:
        """0 at the start, 1 at the end; cut to these."""
        return min(1.0, max(0.0, (moment - self.start) / (self.end - self.start)))

    def ticks(self, most: int = 6) -> list[Tick]:
        """At round times (UTC), `most` at most; the date is told where it changes."""
        length = (self.end - self.start).total_seconds()
        step = next((step for step in _STEPS if length / step <= most - 1), length / (most - 1))
        midnight = self.start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        first = math.ceil((self.start - midnight).total_seconds() / step - 1e-9)
        ticks: list[Tick] = []
        before: datetime | None = None
        for number in range(first, first + most + 1):
            moment = midnight + timedelta(seconds=number * step)
            if moment > self.end:
                break
            ticks.append(Tick(self.at(moment), _clock(moment, step, before)))
            before = moment
        return ticks


def _clock(moment: datetime, step: float, before: datetime | None) -> str:
    date = f"{moment:%b} {moment.day}"
    if step >= DAY:
        return date
    text = moment.strftime("%H:%M" if step >= MINUTE else "%H:%M:%S")
    if step < 1:
        text += moment.strftime(".%f")[: 1 + math.ceil(-math.log10(step))]
    is_new = before is not None and before.date() != moment.date()
    return f"{date}, {text}" if is_new else text


def top(values: Sequence[float]) -> float:
    """A round number that no value exceeds, above 0."""
    highest = max(values, default=0.0)
    if highest <= 0:
        return 1.0
    step = _round_step(highest / 4)
    return math.ceil(highest / step - 1e-9) * step


def value_ticks(highest: float) -> list[Tick]:
    """Four or so round values from 0 to what `top` gave."""
    step = _round_step(highest / 4)
    count = round(highest / step)
    return [Tick(number * step / highest, _plain(number * step)) for number in range(count + 1)]


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * many for many in (1, 2, 2.5, 5, 10) if power * many >= least * (1 - 1e-9))


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.6g}"


@dataclass(frozen=True, slots=True)
class Logarithmic:
    """Durations from milliseconds to months on one axis; from one power of ten of seconds to another."""

    low: int
    high: int

    @classmethod
    def over(cls, values: Sequence[float]) -> Logarithmic:
        some = [value for value in values if value > 0] or [1.0]
        low = math.floor(math.log10(max(min(some), 1e-3)))
        return cls(low, max(low + 1, math.ceil(math.log10(max(some)) - 1e-9)))

    def at(self, value: float) -> float:
        """0 at the lower end, which is also where less is; 1 at the upper."""
        if value <= 0:
            return 0.0
        return min(1.0, max(0.0, (math.log10(value) - self.low) / (self.high - self.low)))

    def ticks(self) -> list[float]:
        """About one for each power of ten, at round durations."""
        return [value for value in _DECADES if 10.0**self.low <= value <= 10.0**self.high]
