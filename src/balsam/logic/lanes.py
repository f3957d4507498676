"""Runs as bars on rows, drawn together where they are too narrow to be seen: values in, values out."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any

from balsam.core.states import JobState
from balsam.store.runs_of_windows import Run

NOWHERE = ""  # of runs whose launcher named no node
MAX_LANES = 64
GOES_ON, DONE, FAILED, CUT = range(4)
_KIND = {None: GOES_ON, JobState.run_done.value: DONE, JobState.run_error.value: FAILED}
# Lane, kind, number of runs, a job of them, microseconds from the window's start to its start and its end.
Bar = list[int]


def binned(
    runs: Sequence[Run], after: int | None, before: int | None, now: int, bins: int, *, by_launcher: bool
) -> dict[str, Any]:
    """Rows with bars, each in the lowest lane that is free, over a window in `bins` equal parts.

    Where the window is open it begins with the first run and ends with the last, or now.
    """
    start = min((run.start for run in runs), default=now) if after is None else after
    latest = max((now if run.end is None else run.end for run in runs), default=now)
    end = max(start + 1, latest if before is None else before)
    width = (end - start) / bins
    rows: dict[str, list[Run]] = {}
    for run in runs:
        for name in _names(run, by_launcher):
            rows.setdefault(name, []).append(run)
    drawn = []
    for name in sorted(rows, key=_natural):
        bars, lanes = _bars(reversed(rows[name]), start, width, now)
        drawn.append({"name": name, "lanes": lanes, "runs": len(rows[name]), "bars": bars})
    return {"start_us": start, "end_us": end, "bins": bins, "runs": len(runs), "rows": drawn}


def _names(run: Run, by_launcher: bool) -> list[str]:
    if by_launcher:
        allocation = NOWHERE if run.batch_job_id is None else f"BatchJob {run.batch_job_id} "
        return [NOWHERE if run.session_id is None else f"{allocation}session {run.session_id}"]
    return run.nodes or [NOWHERE]


def _natural(name: str) -> tuple[str, int]:
    """`node9` before `node10`."""
    stem = name.rstrip("0123456789")
    digits = name[len(stem) :]
    return stem, int(digits) if digits else -1


def _bars(runs: Iterable[Run], start: int, width: float, now: int) -> tuple[list[Bar], int]:
    """Oldest first; what is narrower than a pixel joins its like in the pixel before or in the same one."""
    free: list[int] = []
    busy: list[tuple[int, int]] = []
    last: dict[int, Bar] = {}
    bars: list[Bar] = []
    highest = 1
    for run in runs:
        until = max(run.start, now if run.end is None else run.end)
        while busy and busy[0][0] <= run.start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (until, lane))
        shown = min(lane, MAX_LANES - 1)
        highest = max(highest, shown + 1)
        bar = [shown, _KIND.get(run.end_state, CUT), 1, run.job_id, run.start - start, until - start]
        before = last.get(shown)
        if before is not None and _join(before, bar, width):
            before[2] += 1
            before[5] = max(before[5], bar[5])
        else:
            last[shown] = bar
            bars.append(bar)
    return bars, highest


def _join(before: Bar, bar: Bar, width: float) -> bool:
    """Only bars of one kind, so that no failure is hidden; and a wide one keeps to itself."""
    is_narrow = bar[5] - bar[4] < width and (before[2] > 1 or before[5] - before[4] < width)
    return is_narrow and before[1] == bar[1] and bar[4] - before[5] <= width
