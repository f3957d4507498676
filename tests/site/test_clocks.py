"""A site whose clock is far from the server's: jobs run once, and events tell the server's time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.shifted_clock import shifted_clock
from tests.site.bench import Bench

CLOSE = timedelta(seconds=0.5)
MARK = "cut -d' ' -f1 /proc/uptime >> uptime"


def preprocess(self: Any) -> None:
    from pathlib import Path

    with Path("preprocessed").open("a") as file:
        file.write("once\n")


@pytest.mark.parametrize("ahead_sec", [-600, -120, 120, 600])
def test_site_whose_clock_is_off(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_sec: int
) -> None:
    for name, text in shifted_clock(tmp_path, ahead_sec).items():
        monkeypatch.setenv(name, text)
    began = datetime.now(UTC)
    bench.start()
    (job,) = bench.jobs(bench.app(f"{MARK}; sleep 1; {MARK}", preprocess=preprocess))
    bench.await_states([job], "PREPROCESSED")
    batch_job = bench.ask()
    bench.await_states([job], "JOB_FINISHED", 40)
    events = bench.events(job)
    at = [datetime.fromisoformat(event["timestamp"]).replace(tzinfo=UTC) for event in events]
    assert at == sorted(at) and began - CLOSE < at[0] and at[-1] < datetime.now(UTC) + CLOSE
    walk = [event["to_state"] for event in events]
    assert walk.count("RUNNING") == walk.count("PREPROCESSED") == 1
    assert (bench.workdir(job) / "preprocessed").read_text() == "once\n"
    first, last = map(float, (bench.workdir(job) / "uptime").read_text().split())
    run = at[walk.index("RUNNING") + 1] - at[walk.index("RUNNING")]
    assert timedelta(seconds=last - first - 0.05) <= run <= timedelta(seconds=last - first) + CLOSE
    assert not any("clock" in event["data"] for event in events)
    bench.client.patch("/batch-jobs/", [{"id": batch_job, "state": "pending_deletion"}])
