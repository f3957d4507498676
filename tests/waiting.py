"""Waiting for a condition in tests, instead of sleeping for a guessed time."""

import time
from collections.abc import Callable


def wait_until(
    condition: Callable[[], object], timeout: float = 25.0, on_timeout: Callable[[], str] = lambda: ""
) -> None:
    """Returns once `condition()` is true; after `timeout` seconds fails with what `on_timeout()` says.

    Long, since a busy machine is no fault; but shorter than agents poll (30 s), so that a push that does not
    come is noticed.
    """
    deadline = time.monotonic() + timeout
    pause = 0.01
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {timeout:g} s: {on_timeout()}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)
