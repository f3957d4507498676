"""One place for time: UTC everywhere, microseconds since 1970 in the database, ISO text on the wire."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Self

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def now_us() -> int:
    """Now, in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def to_us(moment: datetime) -> int:
    """Microseconds since 1970 UTC; a naive datetime means UTC."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (aware - EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """The aware UTC datetime of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=us)


def naive_text(us: int | None) -> str | None:
    """Naive UTC ISO text with `T`, as the published server answers it; the fraction is left out when zero."""
    return None if us is None else from_us(us).replace(tzinfo=None).isoformat()


def offset_text(us: int | None) -> str | None:
    """UTC ISO text with `+00:00`."""
    return None if us is None else from_us(us).isoformat()


class UtcDatetime(datetime):
    """An aware UTC datetime that also compares with and subtracts from naive ones, taking those as UTC.

    Users' scripts write `datetime.utcnow() - job.last_update`; with a plain aware datetime that is a
    TypeError.
    """

    @classmethod
    def of(cls, moment: datetime) -> Self:
        utc = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
        return cls(
            utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, utc.microsecond, tzinfo=UTC
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ISO text; text without an offset means UTC."""
        return cls.of(datetime.fromisoformat(text))

    @classmethod
    def of_us(cls, us: int) -> Self:
        return cls.of(from_us(us))

    def __sub__(self, other: Any) -> Any:
        return super().__sub__(_aware(other))

    def __rsub__(self, other: Any) -> Any:
        if isinstance(other, datetime):
            return -(self - other)
        return NotImplemented

    def __eq__(self, other: object) -> bool:
        return super().__eq__(_aware(other))

    def __lt__(self, other: Any) -> bool:
        return super().__lt__(_aware(other))

    def __le__(self, other: Any) -> bool:
        return super().__le__(_aware(other))

    def __gt__(self, other: Any) -> bool:
        return super().__gt__(_aware(other))

    def __ge__(self, other: Any) -> bool:
        return super().__ge__(_aware(other))

    __hash__ = datetime.__hash__


def _aware(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value
