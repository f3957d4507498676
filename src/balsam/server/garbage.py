"""When a server process looks for garbage in cycles: rarely, since it makes little."""

import gc

# Objects made between two looks. A bulk request makes a hundred thousand that all live until its end; with
# Python's 700 a third of its time would go into looking at them again and again.
THRESHOLDS = (50_000, 20, 50)


def collect_rarely() -> None:
    """For a process that only serves: call it when everything is built."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
