"""A site with a batch system that hangs, fails and prints garbage, with a real agent and real processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from balsam.client.transport import Client
from balsam.runtime.site_folder import create_site_folder
from tests.site.bench import Bench, Record
from tests.site.fake_batch import ROLES, FakeBatch
from tests.waiting import wait_until


@pytest.fixture
def system() -> str:
    return "slurm"


@pytest.fixture
def slurm(system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBatch]:
    made = FakeBatch(tmp_path / "batch", system)
    monkeypatch.setenv("PATH", f"{made.bin}:{os.environ['PATH']}")
    yield made
    made.end()


@pytest.fixture
def bench(system: str, tmp_path: Path, owner: Client, slurm: FakeBatch) -> Iterator[Bench]:
    made = Bench(create_site_folder(tmp_path / "a site", tmp_path.name, owner, machine=system), owner)
    content = yaml.safe_load(made.site.settings_path.read_text())
    content["scheduler"] |= {"poll_period": 1, "allowed_projects": ["local"]}
    content["scheduler"]["allowed_queues"] = {
        "local": {"max_nodes": 9, "max_walltime": 60, "max_queued_jobs": 9}
    }
    made.site.settings_path.write_text(yaml.safe_dump(content))
    yield made
    made.close()


def why(bench: Bench, batch_job_id: int) -> str:
    return str(bench.client.get(f"/batch-jobs/{batch_job_id}/why")["sentence"])


@pytest.mark.parametrize("system", ROLES)
def test_an_allocation_is_submitted_followed_and_ended_with_what_accounting_says(
    bench: Bench, slurm: FakeBatch
) -> None:
    bench.template("echo ran {{ batch_job_id }} $FAKE_JOB_ID; test -e go || sleep 0.5; exit 3")
    bench.start()
    number = bench.ask(num_nodes=2)
    done = bench.await_state(number, "finished")
    told = "1.pbs1" if slurm.system == "pbs" else "1"
    assert (done["cause"], done["scheduler_id"], done["scheduler_id_text"]) == ("exit 3", 1, told)
    assert done["start_time"] <= done["end_time"] and bench.output(number) == f"ran {number} 1\n"
    assert done["status_info"]["error"] == f"ran {number} 1"
    [job] = slurm.jobs()
    assert job["name"].startswith("b") and job["name"].endswith(f"-{number}")


def test_deletion_is_polite_and_its_cause_is_the_user(bench: Bench, slurm: FakeBatch) -> None:
    bench.template("trap 'echo bye; kill $!; exit 0' TERM; echo up; sleep 300 & wait")
    bench.start()
    number = bench.ask()
    bench.await_state(number, "running")
    wait_until(lambda: bench.output(number))
    bench.client.put(f"/batch-jobs/{number}", {"state": "pending_deletion"})
    assert bench.await_state(number, "finished")["cause"] == "deleted by user"
    assert bench.output(number) == "up\nbye\n"


def test_no_answer_of_the_batch_system_ends_anything(bench: Bench, slurm: FakeBatch) -> None:
    """Kind: a failure to look is taken for what there is to see."""
    bench.template("until test -e go; do sleep 0.1; done")
    bench.start()
    number = bench.ask()
    bench.await_state(number, "running")
    slurm.order("look", text="")  # complete, as it seems, and empty: accounting contradicts
    slurm.order("look", text="1|1|RUNN")
    slurm.order("look", text="\0\1 one|two|three\n")
    slurm.order("look", times=30, rc=1, stderr="slurm_load_jobs error: Unable to contact slurm controller")
    wait_until(lambda: "Unable to contact slurm controller" in why(bench, number), on_timeout=bench.log)
    assert bench.batch_job(number)["state"] == "running"
    waiting = bench.ask()
    slurm.forget()
    slurm.order("submit", rc=1, stderr="sbatch: error: Slurm temporarily unable to accept job, sleeping")
    wait_until(lambda: "temporarily unable" in why(bench, waiting), on_timeout=bench.log)
    (bench.site.path / "go").touch()
    assert bench.await_state(number, "finished")["cause"] == "exit 0"
    assert len(slurm.jobs()) == 1 and bench.batch_job(waiting)["state"] == "pending_submission"


def test_a_submission_whose_answer_was_lost_is_found_and_not_repeated(bench: Bench, slurm: FakeBatch) -> None:
    bench.template("until test -e go; do sleep 0.1; done")
    slurm.order("submit", hang=600, done=True)
    bench.start()
    number = bench.ask()
    wait_until(lambda: any("pid" in job for job in slurm.jobs()), on_timeout=bench.log)
    bench.kill_agent()
    bench.start()
    assert bench.await_state(number, "running")["scheduler_id"] == 1
    (bench.site.path / "go").touch()
    assert bench.await_state(number, "finished")["cause"] == "exit 0"
    assert slurm.calls("submit") == 1


def test_a_batch_system_that_did_not_answer_an_idle_site_is_asked_until_it_does(
    bench: Bench, slurm: FakeBatch
) -> None:
    """Kind: a trouble is told for ever since nobody looks whether it has passed."""

    def trouble() -> str | None:
        agent: Record | None = bench.client.get(f"/sites/{bench.site.site_id}")["agent"]
        return None if agent is None else agent["trouble"]

    slurm.order("look", times=2, rc=1, stderr="slurm_load_jobs error: no answer")
    bench.start()
    wait_until(lambda: slurm.left("look") == 0, on_timeout=bench.log)
    wait_until(lambda: not trouble() and slurm.calls("look") >= 3, on_timeout=bench.log)


def test_an_idle_site_asks_its_batch_system_nothing(bench: Bench, slurm: FakeBatch) -> None:
    bench.template("true")
    bench.start()
    bench.await_state(bench.ask(), "finished")
    before = slurm.calls("look") + slurm.calls("account")
    jobs = bench.jobs(bench.app(), 1)
    bench.await_states(jobs, "PREPROCESSED")
    assert slurm.calls("look") + slurm.calls("account") <= before + 1
