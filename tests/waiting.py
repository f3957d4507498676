"""Waiting for a condition in tests, instead of sleeping for a guessed time."""

import time
from collections.abc import Callable


def wait_until(
    condition: Callable[[], object], timeout: float = 10.0, on_timeout: Callable[[], str] = lambda: ""
) -> None:
    """Returns once `condition()` is true; after `timeout` seconds fails with what `on_timeout()` says."""
    deadline = time.monotonic() + timeout
    pause = 0.01
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {timeout:g} s: {on_timeout()}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)
