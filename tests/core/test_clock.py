from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from balsam.core.clock import ClockOffset, UtcDatetime, from_us, naive_text, offset_text, to_us


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


def test_offset_of_a_clock_is_that_of_the_shortest_way_there_and_back() -> None:
    """The server is 10 s ahead; two of its answers came late, by one way or the other."""
    clock = ClockOffset()
    clock.add(0, 10_000_000 + 2_000_000, 2_000_000)
    clock.add(5_000_000, 15_000_000 + 1_000, 5_002_000)
    clock.add(9_000_000, 19_000_000, 12_000_000)
    assert clock.us == 10_000_000


def test_clocks_that_may_agree_are_left_alone() -> None:
    """On one host there is no offset but that of the way."""
    clock = ClockOffset()
    assert clock.us == 0
    clock.add(0, 900_000, 1_000_000)
    assert clock.us == 0


def test_offset_follows_a_clock_that_is_set() -> None:
    clock = ClockOffset()
    clock.add(0, 60_000_000, 1_000)
    for at in range(ClockOffset.KEPT):
        clock.add(at, at + 90_000_000, at + 2_000)
    assert abs(clock.us - 90_000_000) < 2_000
