"""The agent delivers what dead launchers have left, before it reports that their allocations end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from balsam.site.processes import stop_agent
from balsam.site.spools import over
from tests.services import EmbeddedServer
from tests.site.bench import Bench
from tests.waiting import wait_until

RAN_ONCE = ["RUNNING", "RUN_DONE", "JOB_FINISHED"]


def waiting_app(bench: Bench, go: Path) -> int:
    return bench.app(f"until [ -e {go} ]; do sleep 0.05; done")


def spooled(bench: Bench, state: str) -> bool:
    return any(f'"state":"{state}"' in path.read_text() for path in bench.site.spool_path.glob("*.jsonl"))


def walk(bench: Bench, job: int) -> list[str]:
    return [event["to_state"] for event in bench.events(job)]


def launcher_pid(bench: Bench) -> int:
    [path] = bench.site.spool_path.glob("*.jsonl")
    return int(path.read_text().partition('"pid":')[2].partition("}")[0])


def test_what_a_dead_allocation_has_left_is_delivered_before_its_end(
    own_bench: Bench, embedded: EmbeddedServer, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    [job] = own_bench.jobs(waiting_app(own_bench, go))
    own_bench.start()
    batch_job_id = own_bench.ask()
    own_bench.await_states([job], "RUNNING", 60)
    stop_agent(own_bench.site)
    embedded.kill()
    go.touch()
    wait_until(lambda: spooled(own_bench, "RUN_DONE"))
    os.kill(launcher_pid(own_bench), signal.SIGKILL)
    embedded.start()
    own_bench.start()
    own_bench.await_states([job], "JOB_FINISHED", 30)
    assert own_bench.await_state(batch_job_id, "finished")["cause"] == "killed by signal 9"
    assert walk(own_bench, job)[-3:] == RAN_ONCE and walk(own_bench, job).count("RUNNING") == 1
    assert list(own_bench.site.spool_path.iterdir()) == []


def test_jobs_of_an_allocation_that_is_killed_run_again_within_seconds(bench: Bench, tmp_path: Path) -> None:
    [job] = bench.jobs(waiting_app(bench, tmp_path / "go"))
    bench.start()
    batch_job_id = bench.ask()
    bench.await_states([job], "RUNNING", 60)
    os.kill(launcher_pid(bench), signal.SIGKILL)
    bench.await_states([job], "RESTART_READY", 5)
    bench.await_state(batch_job_id, "finished", 5)
    assert "RUN_TIMEOUT" in walk(bench, job)


def test_spools_of_batch_jobs_that_are_over_or_deleted_are_to_be_delivered() -> None:
    records = [{"id": 1, "state": "running"}, {"id": 2, "state": "finished"}, {"id": 3, "state": "queued"}]
    assert over([1, 2, 3, 4], records) == {2, 4}
