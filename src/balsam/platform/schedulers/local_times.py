"""Times as batch systems print them that tell no zone: those of this machine."""

from __future__ import annotations

import re
import time

SEC = 1_000_000
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY = re.compile(r"(?:[A-Z][a-z]{2} )?([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d)(?::(\d\d))?(?: (\d{4}))?")
_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?")


def parse_day(text: str, now_us: int = 0) -> int | None:
    """Microseconds since 1970 of `Mon Nov 30 15:23:32 2026`, None where it is no such time.

    Without a year, as in `Feb  2 00:46`, it is the one that brings it nearest to now.
    """
    match = _DAY.fullmatch(text.strip())
    if match is None or match[1] not in _MONTHS:
        return None
    month, (day, hour, minute) = _MONTHS.index(match[1]) + 1, map(int, match.group(2, 3, 4))
    second = int(match[5] or 0)
    if match[6]:
        return _moment(int(match[6]), month, day, hour, minute, second)
    this_year = time.localtime(now_us / SEC).tm_year
    years = [_moment(this_year + n, month, day, hour, minute, second) for n in (-1, 0, 1)]
    return min((us for us in years if us is not None), key=lambda us: abs(us - now_us), default=None)


def parse_iso(text: str) -> int | None:
    """Likewise of `2026-11-30T14:50:21`."""
    match = _ISO.fullmatch(text.strip())
    return _moment(*map(int, match.groups())) if match else None


def _moment(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int | None:
    if not (1970 <= year <= 2500 and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60):
        return None
    told = (year, month, day, hour, minute, second, 0, 0, -1)
    moment = time.mktime(told)
    same_day = time.localtime(moment)[1:3] == (month, day)  # there is no 30 February
    return int(moment) * SEC if same_day and second < 62 else None
