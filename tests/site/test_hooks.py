"""Lifecycle hooks run by a real agent in real workers."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from balsam.runtime.site_folder import create_site_folder
from balsam.site.processes import stop_agent
from tests.services import EmbeddedServer
from tests.site.bench import Bench, lives
from tests.waiting import wait_until


@pytest.fixture
def running(bench: Bench) -> Bench:
    bench.start()
    return bench


def writes_a_line(self: Any) -> None:
    with open("ran", "a") as file:  # noqa: PTH123
        file.write("ran\n")


def slow(self: Any) -> None:
    import os
    import time
    from pathlib import Path

    Path(f"pid-{os.getpid()}").touch()
    for _ in range(600):
        if Path("../go").exists():
            return
        time.sleep(0.05)


def pids_in(workdir: Path) -> list[int]:
    return [int(path.name.removeprefix("pid-")) for path in workdir.glob("pid-*")]


def test_a_hook_runs_in_the_jobs_workdir_and_its_output_goes_to_balsam_log(running: Bench) -> None:
    def preprocess(self: Any) -> None:
        from pathlib import Path

        print("said in", Path().resolve())
        self.job.data = {"seen": self.job.tags["who"]}

    (job_id,) = running.jobs(running.app(preprocess=preprocess), tags={"who": "me"})
    running.await_states([job_id], "PREPROCESSED")
    heading, said = (running.workdir(job_id) / "balsam.log").read_text().splitlines()
    assert heading.startswith("====") and f"preprocess of job {job_id}" in heading
    assert said == f"said in {running.workdir(job_id)}"
    assert running.job(job_id)["data"] == {"seen": "me"}
    assert running.job(job_id)["session_id"] is None


def test_a_hook_that_raises_fails_its_job_with_type_message_and_traceback(running: Bench) -> None:
    def preprocess(self: Any) -> None:
        raise ValueError("the mesh is empty")

    (job_id,) = running.jobs(running.app(preprocess=preprocess))
    running.await_states([job_id], "FAILED")
    data = running.events(job_id)[-1]["data"]
    assert data["message"] == "preprocess() failed"
    assert "Traceback" in data["error"] and data["error"].endswith("ValueError: the mesh is empty")
    log = (running.workdir(job_id) / "balsam.log").read_text()
    assert "Traceback" in log and "preprocess() failed: ValueError: the mesh is empty" in log
    why = running.client.get(f"/jobs/{job_id}/why")
    assert "the mesh is empty" in why["sentence"]


def test_every_hook_is_called_in_its_state(running: Bench) -> None:
    def postprocess(self: Any) -> None:
        print("called postprocess")

    def handle_error(self: Any) -> None:
        print("called handle_error")

    def handle_timeout(self: Any) -> None:
        print("called handle_timeout")
        self.job.state = "FAILED"

    app_id = running.app(postprocess=postprocess, handle_error=handle_error, handle_timeout=handle_timeout)
    jobs = running.jobs(app_id, 3)
    running.await_states(jobs, "PREPROCESSED")
    for job_id, state in zip(jobs, ("RUN_DONE", "RUN_ERROR", "RUN_TIMEOUT"), strict=True):
        running.client.put(f"/jobs/{job_id}", {"state": state})
    running.await_states(jobs[:1], "JOB_FINISHED")
    running.await_states(jobs[1:], "FAILED")
    for job_id, hook in zip(jobs, ("postprocess", "handle_error", "handle_timeout"), strict=True):
        assert f"called {hook}" in (running.workdir(job_id) / "balsam.log").read_text()


def test_a_worker_that_dies_is_tried_again_and_then_fails_the_job(running: Bench) -> None:
    def preprocess(self: Any) -> None:
        import os

        with open("ran", "a") as file:  # noqa: PTH123
            file.write("ran\n")
        os._exit(3)

    (job_id,) = running.jobs(running.app(preprocess=preprocess))
    running.await_states([job_id], "FAILED")
    assert (running.workdir(job_id) / "ran").read_text() == "ran\n" * 2
    assert running.events(job_id)[-1]["data"]["error"] == "the Python worker died with exit code 3"
    assert "it runs again" in (running.workdir(job_id) / "balsam.log").read_text()


def test_a_worker_that_somebody_killed_does_not_fail_the_job(running: Bench) -> None:
    (job_id,) = running.jobs(running.app(preprocess=slow))
    wait_until(lambda: pids_in(running.workdir(job_id)), 10.0, running.log)
    (pid,) = pids_in(running.workdir(job_id))
    os.kill(pid, signal.SIGKILL)
    (running.workdir(job_id).parent / "go").touch()
    running.await_states([job_id], "PREPROCESSED")


def test_a_change_that_the_server_can_not_take_fails_only_its_own_job(running: Bench) -> None:
    def preprocess(self: Any) -> None:
        self.job.data = {"x": "ok"}
        if self.job.tags["bad"] == "1":
            self.job.batch_job_id = 10**9  # which only the server can know to be of nobody

    app_id = running.app(preprocess=preprocess)
    good = running.jobs(app_id, 20, tags={"bad": "0"})
    bad = running.jobs(app_id, 1, tags={"bad": "1"})
    running.await_states(good, "PREPROCESSED")
    running.await_states(bad, "FAILED")
    data = running.events(bad[0])[-1]["data"]
    assert data["message"] == "the server refused what the hook changed"


def test_results_of_a_steady_stream_reach_the_server_at_once(running: Bench) -> None:
    def preprocess(self: Any) -> None:
        import time

        time.sleep(0.02)

    app_id = running.app(preprocess=preprocess)
    jobs = running.jobs(app_id, 100)
    wait_until(lambda: running.states(jobs).count("PREPROCESSED") > 3, 10.0, running.log)
    assert running.states(jobs).count("PREPROCESSED") < 90
    running.await_states(jobs, "PREPROCESSED")


def test_a_changed_app_is_used_for_the_next_job(running: Bench) -> None:
    def preprocess(self: Any) -> None:
        print("first")

    app_id = running.app(preprocess=preprocess)
    (first,) = running.jobs(app_id)
    running.await_states([first], "PREPROCESSED")

    def changed(self: Any) -> None:
        print("second")

    other = running.client.get(f"/apps/{running.app(preprocess=changed)}")
    running.client.put(f"/apps/{app_id}", {"serialized_class": other["serialized_class"]})
    (second,) = running.jobs(app_id, workdir="second")
    running.await_states([second], "PREPROCESSED")
    assert "second" in (running.workdir(second) / "balsam.log").read_text()


def test_an_app_that_does_not_load_fails_the_job_with_the_reason(running: Bench) -> None:
    def preprocess(self: Any) -> None:
        pass

    app_id = running.app(preprocess=preprocess)
    running.client.put(f"/apps/{app_id}", {"serialized_class": "bm90IGEgcGlja2xl"})
    (job_id,) = running.jobs(app_id)
    running.await_states([job_id], "FAILED")
    assert running.events(job_id)[-1]["data"]["error"]
    assert "preprocess() failed" in (running.workdir(job_id) / "balsam.log").read_text()


def test_a_killed_agents_hooks_die_and_its_jobs_go_on_at_once_with_the_next(running: Bench) -> None:
    (job_id,) = running.jobs(running.app(preprocess=slow))
    wait_until(lambda: pids_in(running.workdir(job_id)), 10.0, running.log)
    (pid,) = pids_in(running.workdir(job_id))
    running.kill_agent()
    wait_until(lambda: not lives(pid), 3.0)
    (running.workdir(job_id).parent / "go").touch()
    running.start()
    running.await_states([job_id], "PREPROCESSED", 8.0)  # far below the lease of a minute


def test_a_stop_ends_hooks_and_frees_their_jobs(running: Bench) -> None:
    jobs = running.jobs(running.app(preprocess=slow), 3)
    wait_until(lambda: any(pids_in(running.workdir(job)) for job in jobs), 10.0, running.log)
    pids = [pid for job in jobs for pid in pids_in(running.workdir(job))]
    began = time.monotonic()
    stop_agent(running.site)
    assert time.monotonic() - began < 3.0
    assert not any(lives(pid) for pid in pids)
    assert set(running.states(jobs)) == {"STAGED_IN"}
    assert {running.job(job)["session_id"] for job in jobs} == {None}
    assert "failed" not in running.log() and "Traceback" not in running.log()


def test_a_session_that_was_lost_is_replaced_and_running_hooks_count(running: Bench) -> None:
    (job_id,) = running.jobs(running.app(preprocess=slow))
    wait_until(lambda: pids_in(running.workdir(job_id)), 10.0, running.log)
    session_id = running.job(job_id)["session_id"]
    running.client.delete(f"/sessions/{session_id}")
    running.jobs(running.app(preprocess=writes_a_line))  # makes the agent ask for jobs
    wait_until(lambda: running.job(job_id)["session_id"] not in (None, session_id), 40.0, running.log)
    (running.workdir(job_id).parent / "go").touch()
    running.await_states([job_id], "PREPROCESSED")
    assert len(pids_in(running.workdir(job_id))) == 1


def test_hooks_go_on_during_an_outage_and_their_results_arrive_after_it(
    own_bench: Bench, embedded: EmbeddedServer
) -> None:
    own_bench.start()
    app_id = own_bench.app(preprocess=slow)
    jobs = own_bench.jobs(app_id, 5)
    wait_until(lambda: any(pids_in(own_bench.workdir(job)) for job in jobs), 10.0, own_bench.log)
    workdirs = [own_bench.workdir(job) for job in jobs]
    embedded.kill()
    (workdirs[0].parent / "go").touch()
    wait_until(lambda: all(pids_in(workdir) for workdir in workdirs))
    embedded.start()
    own_bench.await_states(jobs, "PREPROCESSED", 15.0)
    assert all(len(pids_in(workdir)) == 1 for workdir in workdirs)
    assert "Traceback" not in own_bench.log()


def test_a_frozen_agents_hooks_are_run_again_when_it_wakes(running: Bench) -> None:
    (job_id,) = running.jobs(running.app(preprocess=slow))
    wait_until(lambda: pids_in(running.workdir(job_id)), 10.0, running.log)
    (pid,) = pids_in(running.workdir(job_id))
    agent = psutil.Process(running.agent_pid)
    agent.suspend()
    wait_until(lambda: not lives(pid), 60.0)  # the guard's doing, before the lease ends
    (running.workdir(job_id).parent / "go").touch()
    agent.resume()
    running.await_states([job_id], "PREPROCESSED")


def test_a_site_without_processing_runs_no_hooks(bench: Bench) -> None:
    bench.site.settings_path.write_text("processing: null")
    bench.start()
    (job_id,) = bench.jobs(bench.app(preprocess=writes_a_line))
    assert bench.await_state(bench.ask(num_nodes=99), "submit_failed")
    assert bench.states([job_id]) == ["STAGED_IN"]


def test_hooks_of_several_workers_run_at_the_same_time(bench: Bench) -> None:
    bench.site.settings_path.write_text("processing: {num_workers: 3, prefetch_depth: 10}")
    bench.start()
    jobs = bench.jobs(bench.app(preprocess=slow), 3)
    wait_until(lambda: all(pids_in(bench.workdir(job)) for job in jobs), 15.0, bench.log)
    (bench.workdir(jobs[0]).parent / "go").touch()
    bench.await_states(jobs, "PREPROCESSED")


def test_more_jobs_than_the_prefetch_depth_all_pass(bench: Bench) -> None:
    bench.site.settings_path.write_text("processing: {num_workers: 1, prefetch_depth: 8}")
    bench.start()
    jobs = bench.jobs(bench.app(preprocess=writes_a_line), 100)
    bench.await_states(jobs, "PREPROCESSED")
    assert all((bench.workdir(job) / "ran").read_text() == "ran\n" for job in jobs)


def test_lease_is_kept_while_nothing_else_beats(tmp_path: Path) -> None:
    """Heartbeats come every 15 s, too late for this lease, as those of a thread that hangs in a file."""
    server = EmbeddedServer(tmp_path / "server", lease_sec=3.0)
    server.start()

    def preprocess(self: Any) -> None:
        import time
        from pathlib import Path

        with Path("begun").open("a") as file:
            file.write("begun\n")
        time.sleep(8)

    try:
        with server.client() as client:
            bench = Bench(create_site_folder(tmp_path / "site", "site", client), client)
            bench.start()
            (job,) = bench.jobs(bench.app(preprocess=preprocess))
            bench.await_states([job], "PREPROCESSED", 40)
            assert (bench.workdir(job) / "begun").read_text() == "begun\n"
            assert bench.log().count("is open") == 1, bench.log()
            bench.close()
    finally:
        server.kill()
