"""BatchJobs from the server's record to real processes and back."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from balsam.platform.schedulers.allocation import Submission, Submitted
from balsam.platform.schedulers.local import LocalScheduler
from balsam.site.labels import Labels, site_token
from balsam.site.lease import place_of
from balsam.site.processes import stop_agent
from balsam.site.this_machine import boot_id
from tests.services import EmbeddedServer
from tests.site.bench import Bench, lives
from tests.waiting import wait_until


@pytest.fixture
def running(bench: Bench) -> Bench:
    bench.start()
    return bench


def label_of(bench: Bench, batch_job_id: int) -> str:
    return Labels(site_token(bench.site.path)).of(batch_job_id)


def wrapper_pid(bench: Bench, scheduler_id: int) -> int:
    start = bench.site.job_path / "local" / f"{scheduler_id}.start.json"
    pid: int = json.loads(start.read_text())["pid"]
    return pid


def test_an_allocation_runs_and_its_end_is_reported_within_a_second(running: Bench) -> None:
    running.template('export BALSAM_SITE_PATH={{ balsam_site_path | quote }}\necho "$BALSAM_SITE_PATH"; pwd')
    asked = time.monotonic()
    done = running.await_state(running.ask(), "finished")
    assert time.monotonic() - asked < 3.0
    assert (done["cause"], done["scheduler_id"], done["scheduler_id_text"]) == ("exit 0", 1, "1")
    assert datetime.fromisoformat(done["start_time"]) <= datetime.fromisoformat(done["end_time"])
    assert done["status_info"]["submit_script"].endswith(f"qsubmit/qlaunch{done['id']:05d}.sh")
    assert running.output(done["id"]).split() == [str(running.site.path)] * 2


def test_an_allocation_that_fails_shows_the_end_of_its_output(running: Bench) -> None:
    running.template("echo the module is missing; exit 4")
    done = running.await_state(running.ask(), "finished")
    assert done["cause"] == "exit 4"
    assert done["status_info"]["error"] == "the module is missing"


def test_whatever_an_allocation_prints_its_end_is_reported(running: Bench) -> None:
    running.template(r"""printf 'a\0b\xff'; head -c 20000 /dev/zero | tr '\0' x; exit 1""")
    done = running.await_state(running.ask(), "finished")
    assert done["cause"] == "exit 1" and done["status_info"]["error"].endswith("xxx")


def test_what_can_not_be_submitted_is_refused_with_a_sentence(running: Bench) -> None:
    failed = running.await_state(running.ask(queue="fast"), "submit_failed")
    assert failed["status_info"]["error"] == "this site has no queue 'fast'; it has local"
    running.template("{{ nodes")
    failed = running.await_state(running.ask(), "submit_failed")
    assert "job-template.sh, line 2: unexpected end of template" in failed["status_info"]["error"]


def test_deleting_ends_the_allocation(running: Bench) -> None:
    running.template("echo $$; sleep 300 & wait")
    batch_job_id = running.ask()
    running.await_state(batch_job_id, "running")
    wait_until(lambda: running.output(batch_job_id))
    running.client.put(f"/batch-jobs/{batch_job_id}", {"state": "pending_deletion"})
    assert running.await_state(batch_job_id, "finished", 5.0)["cause"] == "deleted by user"
    assert not lives(int(running.output(batch_job_id)))


def test_an_allocation_whose_record_is_deleted_is_ended(running: Bench) -> None:
    running.template("echo $$; sleep 300 & wait")
    batch_job_id = running.ask()
    running.await_state(batch_job_id, "running")
    wait_until(lambda: running.output(batch_job_id))
    running.client.delete(f"/batch-jobs/{batch_job_id}")
    wait_until(lambda: not lives(int(running.output(batch_job_id))), 15.0, running.log)


def test_a_killed_wrapper_is_seen_within_two_seconds_and_nothing_is_left(running: Bench) -> None:
    running.template("echo $$; setsid sleep 300 & sleep 300 & wait")
    batch_job_id = running.ask()
    scheduler_id = running.await_state(batch_job_id, "running")["scheduler_id"]
    wait_until(lambda: running.output(batch_job_id))
    os.kill(wrapper_pid(running, scheduler_id), signal.SIGKILL)
    done = running.await_state(batch_job_id, "finished", 2.0)
    assert done["cause"] == "its wrapper process was killed" and done["end_time"]
    assert not lives(int(running.output(batch_job_id)))


def test_allocations_outlive_the_agent_and_are_found_again(running: Bench) -> None:
    running.template("echo ran; sleep 1.5")
    batch_job_id = running.ask()
    running.await_state(batch_job_id, "running")
    running.kill_agent()
    running.start()
    done = running.await_state(batch_job_id, "finished")
    assert (done["cause"], done["scheduler_id"]) == ("exit 0", 1)
    assert running.output(batch_job_id) == "ran\n"


def test_an_end_that_nobody_saw_is_reported_by_the_next_agent(running: Bench) -> None:
    end = running.site.path / "end"
    running.template(f"until test -e {end}; do sleep 0.05; done")
    batch_job_id = running.ask()
    running.await_state(batch_job_id, "running")
    stop_agent(running.site)
    end.touch()
    scheduler = LocalScheduler(running.site.job_path / "local")
    wait_until(lambda: not scheduler.active())
    running.start()
    assert running.await_state(batch_job_id, "finished")["cause"] == "exit 0"


@pytest.mark.parametrize("delay_sec", [0.0, 0.02, 0.05, 0.1])
def test_an_agent_killed_around_the_submission_does_not_submit_twice(
    running: Bench, delay_sec: float
) -> None:
    running.template("echo ran; sleep 0.3")
    batch_job_id = running.ask()
    records = running.site.job_path / "local"
    script = running.site.job_path / f"qlaunch{batch_job_id:05d}.sh"
    wait_until(script.exists)
    time.sleep(delay_sec)  # the moment of the kill is what varies
    running.kill_agent()
    running.start()
    assert running.await_state(batch_job_id, "finished")["cause"] == "exit 0"
    assert running.output(batch_job_id) == "ran\n"
    assert [path.name for path in records.glob("*.json") if path.stem.isdigit()] == ["1.json"]


def test_a_submission_that_was_never_reported_is_taken_up(bench: Bench) -> None:
    bench.template("echo ran")
    batch_job_id = bench.ask()
    noted = LocalScheduler(bench.site.job_path / "local")
    script = bench.site.job_path / "mine.sh"
    script.write_text("#!/bin/bash\necho earlier")
    script.chmod(0o700)
    output = bench.site.job_path / f"qlaunch{batch_job_id:05d}.output"
    noted.submit(Submission(label_of(bench, batch_job_id), script, output, bench.site.path, 5))
    bench.start()
    assert bench.await_state(batch_job_id, "finished")["cause"] == "exit 0"
    assert bench.output(batch_job_id) == "earlier\n"


def test_an_allocation_that_ends_during_an_outage_is_reported_after_it(
    own_bench: Bench, embedded: EmbeddedServer
) -> None:
    own_bench.template("sleep 1; echo done")
    own_bench.start()
    batch_job_id = own_bench.ask()
    own_bench.await_state(batch_job_id, "running")
    embedded.kill()
    wait_until(lambda: own_bench.output(batch_job_id))
    embedded.start()
    done = own_bench.await_state(batch_job_id, "finished", 10.0)
    assert done["cause"] == "exit 0"
    ran = datetime.fromisoformat(done["end_time"]) - datetime.fromisoformat(done["start_time"])
    assert 0.9 <= ran.total_seconds() < 4.0
    assert "the server answers again" in own_bench.log() and "Traceback" not in own_bench.log()


def test_ten_batch_jobs_at_once_all_run_once(running: Bench) -> None:
    running.template("echo ran {{ batch_job_id }}")
    ids = [running.ask() for _ in range(10)]
    for batch_job_id in ids:
        assert running.await_state(batch_job_id, "finished")["cause"] == "exit 0"
    assert [running.output(i) for i in ids] == [f"ran {i}\n" for i in ids]


def test_a_site_without_scheduler_submits_nothing(bench: Bench, tmp_path: Path) -> None:
    bench.site.settings_path.write_text("scheduler: null")
    bench.start()
    batch_job_id = bench.ask()
    bench.await_states(bench.jobs(bench.app()), "PREPROCESSED")
    assert bench.batch_job(batch_job_id)["state"] == "pending_submission"


def test_what_an_agent_had_claimed_before_it_died_is_submitted_once(bench: Bench) -> None:
    """A crash between the claim of a BatchJob and its submission loses nothing and repeats nothing."""
    bench.template("echo once")
    never, before = bench.ask(), bench.ask()
    dead = place_of(bench.site.path).model_copy(update={"process": f"{boot_id()}:1", "pid": 1})
    assert bench.client.put(f"/sites/{bench.site.site_id}/agent", dead.model_dump())["granted"]
    for batch_job in (never, before):
        bench.client.post(f"/batch-jobs/{batch_job}/submission", {"instance": dead.instance})
    script = bench.site.job_path / "before.sh"
    script.write_text("#!/bin/bash\necho once\n")
    script.chmod(0o700)
    output = bench.site.job_path / f"qlaunch{before:05d}.output"
    LocalScheduler(bench.site.job_path / "local").submit(
        Submission(label_of(bench, before), script, output, bench.site.path, 5)
    )
    bench.start()
    for batch_job in (never, before):
        bench.await_state(batch_job, "finished")
        assert bench.output(batch_job) == "once\n"


def test_two_schedulers_in_one_folder_submit_a_label_once(bench: Bench) -> None:
    script = bench.site.job_path / "one.sh"
    script.write_text("#!/bin/bash\necho once\n")
    script.chmod(0o700)
    submission = Submission("balsam-1", script, bench.site.job_path / "one.output", bench.site.path, 5)
    schedulers = [LocalScheduler(bench.site.job_path / "local") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        outcomes = set(pool.map(lambda one: one.submit(submission), schedulers))
    assert outcomes == {Submitted("1")}
    wait_until(lambda: not schedulers[0].active())
    assert submission.output.read_text() == "once\n"
