from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from balsam.core.clock import UtcDatetime, from_us, naive_text, offset_text, to_us


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1)))
def test_microseconds_survive_both_ways(moment: datetime) -> None:
    assert from_us(to_us(moment)) == moment.replace(tzinfo=UTC)


def test_a_naive_datetime_is_taken_as_utc() -> None:
    assert to_us(datetime(1970, 1, 1, 0, 0, 1)) == 1_000_000


def test_wire_texts_leave_out_a_zero_fraction() -> None:
    assert naive_text(1_000_000) == "1970-01-01T00:00:01"
    assert naive_text(1_500_000) == "1970-01-01T00:00:01.500000"
    assert offset_text(1_500_000) == "1970-01-01T00:00:01.500000+00:00"
    assert naive_text(None) is None


def test_utc_datetime_compares_with_and_subtracts_from_naive_ones() -> None:
    ours = UtcDatetime.parse("2026-01-01T00:00:10")
    naive = datetime(2026, 1, 1)
    aware = datetime(2026, 1, 1, tzinfo=UTC)
    assert ours - naive == naive_difference() == ours - aware
    assert naive - ours == -naive_difference()
    assert naive < ours and ours > naive and ours >= naive and naive <= ours
    assert ours != naive and ours == datetime(2026, 1, 1, 0, 0, 10)
    assert isinstance(ours - timedelta(seconds=1), UtcDatetime)
    assert hash(ours) == hash(datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC))


def naive_difference() -> timedelta:
    return timedelta(seconds=10)
