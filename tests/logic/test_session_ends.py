"""When sessions end whose allocations' ends are told by clocks that may be off."""

from __future__ import annotations

import pytest

from balsam.logic.sessions import end_of

MINUTE = 60_000_000
STARTED, HEARD, NOW = 0, 5 * MINUTE, 6 * MINUTE


@pytest.mark.parametrize(
    ("told", "ended"),
    [
        (5 * MINUTE, 5 * MINUTE),
        (HEARD - 1_000_000, HEARD - 1_000_000),  # what it left was delivered a moment after its end
        (16 * MINUTE, NOW),  # the site's clock is ahead
        (-5 * MINUTE, HEARD),  # or behind
        (3 * MINUTE, HEARD),
    ],
)
def test_session_ends_neither_in_the_future_nor_before_it_was_heard_of(told: int, ended: int) -> None:
    assert end_of(STARTED, HEARD, told, NOW) == ended
