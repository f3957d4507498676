"""Users kill, follow and drain real launchers from afar."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from balsam.api import BatchJob, Job, JobState
from balsam.client.errors import ClientError, ServerRefused
from balsam.sdk.application import ApplicationDefinition
from tests.launcher.pilot import Pilot, long_sleep, processes_with
from tests.waiting import wait_until


def job_of(pilot: Pilot, job_id: int) -> Job:
    return Job.objects.using(pilot.client).get(id=job_id)


class TestKill:
    def test_a_run_is_ended_with_its_children_and_does_not_run_again(self, running: Pilot) -> None:
        sleeping = long_sleep()
        app = running.command(f"{sleeping} & {sleeping}")
        [job] = running.submit(app)
        running.wait_state([job], "RUNNING")
        wait_until(lambda: len(processes_with(sleeping)) > 1)
        began = time.monotonic()
        answer = job_of(running, job).kill()
        assert answer.outcome == "killed"
        assert time.monotonic() - began < 4.0
        assert not processes_with(sleeping)
        assert running.walk(job)[2:] == ["RUNNING", "RUN_ERROR", "FAILED"]
        error, failed = running.events(job)[-2:]
        assert error["data"]["killed"] is True
        assert error["data"]["returncode"] == -signal.SIGTERM
        assert failed["data"]["message"].startswith("killed by user")
        assert running.row(job)["return_code"] == -signal.SIGTERM

    def test_a_run_that_ignores_sigterm_is_killed_after_a_grace(self, running: Pilot) -> None:
        [job] = running.submit(running.command("trap '' TERM; echo up; while true; do sleep 0.1; done"))
        running.wait_state([job], "RUNNING")
        wait_until(lambda: running.output(job) == "up\n")
        assert job_of(running, job).kill(timeout=60).outcome == "killed"
        assert running.events(job)[-2]["data"]["returncode"] == -signal.SIGKILL

    def test_handle_error_is_not_called(self, running: Pilot) -> None:
        class Mended(ApplicationDefinition):
            command_template = "sleep 600"

            def handle_error(self) -> None:
                self.job.state = JobState.restart_ready

        [job] = running.submit(running.app_id(Mended), workdir="mended")
        running.wait_state([job], "RUNNING")
        job_of(running, job).kill()
        assert running.walk(job)[-2:] == ["RUN_ERROR", "FAILED"]

    def test_a_python_run_is_killed_and_the_next_one_works(self, running: Pilot) -> None:
        class Endless(ApplicationDefinition):
            def run(self, endless: bool) -> int:
                import time

                while endless:
                    time.sleep(0.1)
                return 1

        app = running.app_id(Endless)
        [job] = running.submit(app, parameters_json={"endless": True})
        running.wait_state([job], "RUNNING")
        assert job_of(running, job).kill().outcome == "killed"
        [after] = running.submit(app, parameters_json={"endless": False})
        assert running.wait_done([after])[0]["state"] == "JOB_FINISHED"

    def test_many_that_run_and_wait_are_killed_together(self, pilot: Pilot) -> None:
        sleeping = long_sleep()
        ids = pilot.submit(pilot.command(sleeping), 1000)
        pilot.launch()
        wait_until(lambda: pilot.states(ids[:500]).count("RUNNING") > 0)
        killed = Job.objects.using(pilot.client).filter(site_id=pilot.site.site_id).kill()
        assert killed.killed + killed.told == 1000
        assert killed.pending == []
        assert set(pilot.states(ids)) == {"FAILED"}
        assert not processes_with(sleeping)
        assert [row["session_id"] for row in pilot.rows(ids)] == [None] * 1000

    def test_a_job_that_the_launcher_holds_and_has_not_started_is_given_up(self, pilot: Pilot) -> None:
        # One fills the node; the other is acquired with it and has to wait.
        pilot.launch("--tag", "a=b")
        wait_until(lambda: len(pilot.client.get("/sessions/")["results"]) == 1)
        app = pilot.command("sleep 600")
        ids = pilot.submit(app, 40, tags={"a": "b"})
        wait_until(lambda: "RUNNING" in pilot.states(ids))
        for job in [row["id"] for row in pilot.rows(ids) if row["state"] != "RUNNING"][:5]:
            assert job_of(pilot, job).kill().outcome == "killed"
            assert pilot.walk(job)[-1] == "FAILED" and "RUNNING" not in pilot.walk(job)

    def test_a_frozen_launchers_job_is_killed_when_its_lease_is_over(self, brief: Pilot) -> None:
        [job] = brief.submit(brief.command(long_sleep()))
        launcher = brief.launch()
        brief.wait_state([job], "RUNNING")
        os.kill(launcher.pid, signal.SIGSTOP)
        answer = job_of(brief, job).kill(timeout=0.2)
        assert answer.outcome == "told"
        assert "its last heartbeat was at" in answer.sentence
        brief.wait_state([job], "FAILED")
        os.kill(launcher.pid, signal.SIGCONT)
        assert brief.walk(job)[2:] == ["RUNNING", "RUN_TIMEOUT", "FAILED"]


class TestTail:
    def test_output_is_read_while_the_run_writes_it(self, running: Pilot) -> None:
        folder = running.site.path / "go"
        app = running.command(f"seq 20; until [ -e {folder} ]; do sleep 0.05; done; echo last")
        [job] = running.submit(app)
        running.wait_state([job], "RUNNING")
        wait_until(lambda: running.output(job).endswith("20\n"))
        assert job_of(running, job).tail(3) == "18\n19\n20\n"
        folder.touch()
        running.wait_done([job])

    def test_following_gives_all_of_it_and_ends_with_the_run(self, running: Pilot) -> None:
        app = running.command("for i in $(seq 30); do echo line $i ä; sleep 0.05; done; printf end")
        [job] = running.submit(app)
        running.wait_state([job], "RUNNING")
        pieces = list(job_of(running, job).tail(100, follow=True))
        assert "".join(pieces) == "".join(f"line {n} ä\n" for n in range(1, 31)) + "end"
        assert len(pieces) > 3
        assert running.row(job)["state"] == "JOB_FINISHED"

    def test_following_a_silent_run_ends_soon_after_it(self, running: Pilot) -> None:
        [job] = running.submit(running.command("sleep 2; :"))
        running.wait_state([job], "RUNNING")
        assert list(job_of(running, job).tail(follow=True)) == []
        ended = running.events(job)[-1]["timestamp"]
        assert ended is not None
        assert running.row(job)["state"] == "JOB_FINISHED"

    def test_more_than_one_answer_holds_comes_whole(self, running: Pilot) -> None:
        [job] = running.submit(running.command("seq 100000; sleep 1"))
        running.wait_state([job], "RUNNING")
        text = "".join(job_of(running, job).tail(100_000, follow=True))
        assert text.endswith("99999\n100000\n")
        lines = text.splitlines()
        assert lines[1:] == [str(n) for n in range(int(lines[1]), 100_001)]

    def test_followers_hold_up_no_kill(self, running: Pilot) -> None:
        [job] = running.submit(running.command(f"echo up; {long_sleep()}"))
        running.wait_state([job], "RUNNING")
        with ThreadPoolExecutor(5) as pool:
            followers = [pool.submit(lambda: list(job_of(running, job).tail(follow=True))) for _ in range(5)]
            wait_until(lambda: running.output(job) == "up\n")
            began = time.monotonic()
            assert job_of(running, job).kill().outcome == "killed"
            assert time.monotonic() - began < 4.0
            assert [follower.result(20) for follower in followers] == [["up\n"]] * 5

    def test_a_link_out_of_the_data_folder_is_refused(self, running: Pilot) -> None:
        [job] = running.submit(running.command(f"rm job.out; ln -s /etc/passwd job.out; {long_sleep()}"))
        running.wait_state([job], "RUNNING")
        out = running.site.data_path / running.row(job)["workdir"] / "job.out"
        wait_until(out.is_symlink)
        with pytest.raises(ServerRefused, match="out of the site's data folder"):
            job_of(running, job).tail()
        job_of(running, job).kill()


class TestAttempts:
    """job.out is the last run's; what earlier ones wrote stays beside it, and can be shown."""

    def test_each_attempts_output_is_kept_and_shown(self, running: Pilot) -> None:
        [job] = running.submit(running.command("echo attempt; ls job*.out; exit 1"))
        running.wait_done([job])
        again = job_of(running, job)
        again.state = JobState.restart_ready
        again.save()
        wait_until(lambda: running.row(job)["num_runs"] == 2)
        running.wait_done([job])
        one = job_of(running, job)
        assert one.tail(attempt=1) == "attempt\njob.out\n"
        assert one.tail(attempt=2) == one.tail() == "attempt\njob.1.out\njob.out\n"
        with pytest.raises(ClientError, match="has no attempt 3: it has run 2 times"):
            one.tail(attempt=3)
        errors = [e["data"]["error"] for e in running.events(job) if e["to_state"] == "RUN_ERROR"]
        assert [text.count("attempt") for text in errors] == [1, 1]
        assert list(one.tail(follow=True, attempt=1)) == ["attempt\njob.out\n"]

    def test_jobs_in_one_workdir_have_outputs_of_their_own(self, running: Pilot) -> None:
        class Speak(ApplicationDefinition):
            def run(self) -> None:
                print("function", self.job.id)

        app, function = running.command("echo command $BALSAM_JOB_ID"), running.app_id(Speak)
        first, second, third = (
            running.client.post("/jobs/", [{"app_id": one, "workdir": "shared"}])[0]["id"]
            for one in (app, app, function)
        )
        running.wait_done([first, second, third])
        said = [job_of(running, job).tail() for job in (first, second, third)]
        assert said == [f"command {first}\n", f"command {second}\n", f"function {third}\n"]


def test_a_drained_launcher_gives_back_what_waits_and_ends_after_its_runs(pilot: Pilot) -> None:
    body = {"site_id": pilot.site.site_id, "num_nodes": 1, "wall_time_min": 10, "job_mode": "serial"}
    row = pilot.client.post("/batch-jobs/", {**body, "project": "local", "queue": "local"})
    go = pilot.site.path / "go"
    ids = pilot.submit(pilot.command(f"until [ -e {go} ]; do sleep 0.05; done"), 40)
    launcher = pilot.launch("--batch-job", str(row["id"]))
    wait_until(lambda: "RUNNING" in pilot.states(ids))
    told = BatchJob.objects.using(pilot.client).get(id=row["id"]).drain()
    assert (told.launchers, told.silent) == (1, [])
    wait_until(lambda: all(one["state"] == "RUNNING" for one in pilot.rows(ids) if one["session_id"]))
    started = [one["id"] for one in pilot.rows(ids) if one["state"] == "RUNNING"]
    assert launcher.poll() is None
    go.touch()
    assert launcher.wait(60) == 0
    assert set(pilot.states(started)) == {"JOB_FINISHED"}
    left = [job for job in ids if job not in started]
    assert left and set(pilot.states(left)) == {"PREPROCESSED"}
