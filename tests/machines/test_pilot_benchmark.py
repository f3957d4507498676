"""The benchmark of launchers beside a real Slurm measures every row."""

from __future__ import annotations

from benchmarks import pilot_vs_queue
from benchmarks.pilot_vs_queue import CHOICES, Sizes

TINY = Sizes(jobs=8, delays=2, allocations=2, count_sec=2.0, judged=False)


def test_every_row_is_measured() -> None:
    rows = {row.name: row for row in pilot_vs_queue.measure(TINY, CHOICES)}
    assert all(row.ok is None for row in rows.values()), "so few can't be judged"
    rates = [row for row in rows.values() if row.unit == "jobs/min"]
    assert len(rates) == 4 and all(row.value and row.reference for row in rates)
    steps = rows["within an allocation, beside srun steps"]
    assert steps.target == pilot_vs_queue.STEPS_RATIO * (steps.reference or 0)
    delay = rows["runnable to RUNNING, median"]
    assert delay.value is not None and 0 <= delay.value < 60 and delay.target == 0.3
    counted = [row for row in rows.values() if row.unit == "1/h"]
    assert len(counted) == 2 and all(row.value is not None for row in counted)
