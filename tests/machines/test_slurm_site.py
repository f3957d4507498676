"""A site that gets its nodes from a real Slurm by itself: accounting, QOS, preemption, failures."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from balsam.client.transport import Client
from balsam.runtime.site_folder import SiteFolder, create_site_folder
from balsam.site.labels import Labels, site_token
from tests.machines.accounted_slurm import AccountedSlurm
from tests.services import EmbeddedServer
from tests.site.bench import Bench, Record
from tests.waiting import wait_until

HANGING = """\
#!/bin/sh
# Hangs once, after it has submitted.
if mkdir {folder}/hung 2>/dev/null; then {real} "$@" >/dev/null; echo $$ > {folder}/pid; exec sleep 600; fi
exec {real} "$@"
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[AccountedSlurm]:
    with AccountedSlurm() as made:
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    made = EmbeddedServer(tmp_path_factory.mktemp("slurm-sites") / "server")
    made.start()
    yield made
    made.kill()


@pytest.fixture
def owner(server: EmbeddedServer) -> Iterator[Client]:
    with server.client() as client:
        yield client


class SlurmBench(Bench):
    """A site on the cluster; allocations of a test that fails are ended with it."""

    def __init__(self, site: SiteFolder, client: Client, cluster: AccountedSlurm) -> None:
        super().__init__(site, client)
        self.cluster = cluster
        self.settings(poll_period=1)

    def settings(self, **scheduler: Any) -> None:
        """Changes the section `scheduler`."""
        content = yaml.safe_load(self.site.settings_path.read_text())
        content["scheduler"] |= scheduler
        queue = {"max_nodes": 99, "max_walltime": 600, "max_queued_jobs": 20}
        content["scheduler"]["allowed_queues"] = dict.fromkeys(
            ("debug", "tiny", "closed", "nosuch", "low", "high", "one"), queue
        )
        content["scheduler"]["allowed_projects"] = ["acct1", "nosuch"]
        content["launcher"] |= {"compute_node": "slurm", "mpi_app_launcher": "srun", "idle_ttl_sec": 3}
        self.site.settings_path.write_text(yaml.safe_dump(content, sort_keys=False))
        self.site.__dict__.pop("settings", None)

    def ask(self, **values: Any) -> int:
        return super().ask(**{"project": "acct1", "queue": "debug", **values})

    def label(self, batch_job_id: int) -> str:
        return Labels(site_token(self.site.path)).of(batch_job_id)

    def listed(self, batch_job_id: int) -> list[str]:
        """The ids of what Slurm has under the label of a BatchJob."""
        return self.cluster.run("squeue", "-h", "-o", "%i", f"--name={self.label(batch_job_id)}").split()

    def await_cause(self, batch_job_id: int, beginning: str, timeout: float = 60.0) -> Record:
        done = self.await_state(batch_job_id, "finished", timeout)
        assert done["cause"].startswith(beginning), (done, self.log())
        return done

    def why(self, batch_job_id: int) -> str:
        return str(self.client.get(f"/batch-jobs/{batch_job_id}/why")["sentence"])

    def close(self) -> None:
        super().close()
        self.cluster.run("scancel", "--user=root")
        wait_until(lambda: not self.cluster.run("squeue", "-h", "-t", "PD,R,CG").strip(), 60)


@pytest.fixture
def bench(
    tmp_path: Path, owner: Client, cluster: AccountedSlurm, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SlurmBench]:
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    site = create_site_folder(tmp_path / "a site", tmp_path.name, owner, machine="slurm")
    made = SlurmBench(site, owner, cluster)
    yield made
    made.close()


@pytest.mark.parametrize("mode", ["serial", "mpi"])
def test_jobs_run_on_several_nodes_that_the_site_asked_for(bench: SlurmBench, mode: str) -> None:
    bench.start()
    jobs = bench.jobs(bench.app("echo $SLURM_JOB_ID"), 4, launch_params={"mpi": "none"})
    batch_job = bench.ask(num_nodes=2, job_mode=mode)
    bench.await_states(jobs, "JOB_FINISHED", 90.0)
    done = bench.await_cause(batch_job, "exit 0")
    assert str(done["scheduler_id"]) == done["scheduler_id_text"]
    assert (bench.workdir(jobs[0]) / "job.out").read_text().strip() == done["scheduler_id_text"]
    assert done["start_time"] <= done["end_time"]


def test_what_slurm_refuses_fails_with_its_words_and_what_can_not_start_says_so(bench: SlurmBench) -> None:
    bench.template("sleep 600")
    bench.start()
    refused = {
        bench.ask(project="nosuch"): "Invalid account",
        bench.ask(queue="nosuch"): "invalid partition specified: nosuch",
    }
    for number, words in refused.items():
        failed = bench.await_state(number, "submit_failed", 60)
        assert failed["cause"].startswith("refused: ") and words in failed["status_info"]["error"]
    never, closed = bench.ask(queue="tiny", wall_time_min=30), bench.ask(queue="closed")
    wait_until(lambda: "PartitionTimeLimit" in bench.why(never), 60, bench.log)
    wait_until(lambda: "PartitionDown" in bench.why(closed), 60, bench.log)
    for number in (never, closed):
        bench.client.put(f"/batch-jobs/{number}", {"state": "pending_deletion"})
        bench.await_cause(number, "deleted by user")


def test_ends_from_both_sides_have_causes_of_their_own(bench: SlurmBench) -> None:
    bench.template("echo up; exec sleep 600")
    bench.start()
    ours, theirs = bench.ask(), bench.ask()
    for number in (ours, theirs):
        bench.await_state(number, "running", 60)
    bench.cluster.run("scancel", str(bench.batch_job(theirs)["scheduler_id"]))
    bench.client.put(f"/batch-jobs/{ours}", {"state": "pending_deletion"})
    bench.await_cause(theirs, "cancelled outside of Balsam: by root")
    bench.await_cause(ours, "deleted by user")
    found = bench.client.get("/batch-jobs/", {"cause": "cancelled", "site_id": bench.site.site_id})
    assert [one["id"] for one in found["results"]] == [theirs]


def test_a_limit_of_submissions_lets_others_wait(bench: SlurmBench) -> None:
    bench.settings(submit={"queue_option": "--qos"})
    bench.template("exec sleep 600")
    bench.start()
    first = bench.ask(queue="one")
    bench.await_state(first, "running", 60)
    second = bench.ask(queue="one")
    wait_until(lambda: "QOSMaxSubmitJobPerUserLimit" in bench.why(second), 60, bench.log)
    assert bench.batch_job(second)["state"] == "pending_submission"


def test_a_preempted_allocation_is_the_same_batch_job_again(bench: SlurmBench) -> None:
    bench.settings(submit={"queue_option": "--qos", "rerunnable": True})
    bench.template("echo began; exec sleep 600")
    bench.start()
    low = bench.ask(queue="low", num_nodes=8)
    before = bench.await_state(low, "running", 60)
    high = bench.ask(queue="high", num_nodes=8)
    again = bench.await_state(low, "queued", 60)
    assert "preempted" in again["status_info"]["requeued"].lower(), again
    assert again["scheduler_id"] == before["scheduler_id"] and again["start_time"] is None
    bench.await_state(high, "running", 60)
    bench.client.put(f"/batch-jobs/{high}", {"state": "pending_deletion"})
    bench.await_cause(high, "deleted by user")
    bench.cluster.run("scontrol", "update", f"JobId={before['scheduler_id']}", "StartTime=now")
    assert bench.await_state(low, "running", 90)["start_time"] > before["start_time"]


def test_a_node_that_fails_is_named(bench: SlurmBench) -> None:
    bench.template("exec sleep 600")
    bench.start()
    number = bench.ask(num_nodes=1)
    scheduler_id = str(bench.await_state(number, "running", 60)["scheduler_id"])
    node = bench.cluster.run("squeue", "-h", "-j", scheduler_id, "-o", "%N").strip()
    os.kill(bench.cluster.pid(f"slurmd-{node}"), signal.SIGKILL)
    try:
        bench.await_cause(number, f"node failure: {node}", 120)
    finally:
        bench.cluster.run("slurmd", "-N", node)
        wait_until(lambda: "idle" in bench.cluster.run("sinfo", "-h", "-N", "-n", node, "-o", "%T"), 60)


def test_a_controller_that_is_away_changes_nothing_and_is_told_of(bench: SlurmBench) -> None:
    bench.template("sleep 45")
    bench.start()
    number = bench.ask()
    bench.await_state(number, "running", 60)
    bench.cluster.stop_daemon("slurmctld")
    try:
        wait_until(lambda: "Unable to contact slurm controller" in bench.why(number), 60, bench.log)
        waiting = bench.ask()
        site = bench.client.get(f"/sites/{bench.site.site_id}")
        wait_until(
            lambda: (
                "slurm controller"
                in (bench.client.get(f"/sites/{bench.site.site_id}")["agent"]["trouble"] or "")
            ),
            30,
            lambda: str(site),
        )
        assert bench.batch_job(number)["state"] == "running"
        assert bench.batch_job(waiting)["state"] == "pending_submission"
    finally:
        bench.cluster.start_daemon("slurmctld")
    bench.await_state(waiting, "running", 90)
    bench.await_cause(number, "exit 0", 90)


def test_accounting_that_is_away_delays_an_end_and_does_not_invent_one(bench: SlurmBench) -> None:
    bench.template("sleep 5; exit 3")
    bench.start()
    number = bench.ask()
    bench.await_state(number, "running", 60)
    bench.cluster.stop_daemon("slurmdbd")
    try:
        # The queue shows for a while that it is over; that is enough.
        bench.await_cause(number, "exit", 60)
    finally:
        bench.cluster.start_daemon("slurmdbd")


def test_a_submission_that_hangs_is_found_by_its_name_and_not_made_twice(
    bench: SlurmBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sbatch").write_text(HANGING.format(folder=folder, real="/usr/bin/sbatch"))
    (folder / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    bench.template("exec sleep 600")
    bench.start()
    number = bench.ask()
    wait_until(lambda: len(bench.listed(number)) == 1, 60, bench.log)
    wait_until((folder / "pid").exists)
    bench.kill_agent()  # in the midst of the submission
    os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
    bench.start()
    running = bench.await_state(number, "running", 60)
    assert bench.listed(number) == [running["scheduler_id_text"]]


def test_two_sites_of_one_user_leave_each_other_alone(
    bench: SlurmBench, tmp_path: Path, owner: Client, cluster: AccountedSlurm
) -> None:
    bench.template("exec sleep 600")
    bench.start()
    mine = bench.ask()
    bench.await_state(mine, "running", 60)
    other = SlurmBench(
        create_site_folder(tmp_path / "other", "other", owner, machine="slurm"), owner, cluster
    )
    other.template("exec sleep 600")
    other.start()
    theirs = other.ask()
    other.await_state(theirs, "running", 60)
    other.client.delete(f"/batch-jobs/{theirs}")  # what is nobody's is ended
    wait_until(lambda: not other.listed(theirs), 60, other.log)
    assert bench.batch_job(mine)["state"] == "running" and len(bench.listed(mine)) == 1
    other.close()


def test_the_wall_time_is_a_cause(bench: SlurmBench) -> None:
    bench.template("exec sleep 600")
    bench.start()
    number = bench.ask(wall_time_min=1)
    bench.await_state(number, "running", 60)
    # Slurm looks at the limit every half minute.
    bench.await_cause(number, "walltime", 150)


def test_jobs_of_an_allocation_that_its_user_ends_go_on_in_the_next_one(bench: SlurmBench) -> None:
    bench.start()
    jobs = bench.jobs(bench.app("sleep 600"), 2)
    number = bench.ask(num_nodes=2)
    bench.await_states(jobs, "RUNNING", 90.0)
    bench.client.put(f"/batch-jobs/{number}", {"state": "pending_deletion"})
    bench.await_cause(number, "deleted by user")
    for job in jobs:
        assert [event["to_state"] for event in bench.events(job)][-3:] == [
            "RUNNING",
            "RUN_TIMEOUT",
            "RESTART_READY",
        ]


def test_two_launchers_share_one_allocation(bench: SlurmBench) -> None:
    bench.start()
    jobs = bench.jobs(bench.app("true"), 4)
    parts: list[Record] = [
        {"job_mode": mode, "num_nodes": 1, "filter_tags": {}} for mode in ("serial", "mpi")
    ]
    number = bench.ask(num_nodes=2, partitions=parts)
    bench.await_states(jobs, "JOB_FINISHED", 90.0)
    bench.await_cause(number, "exit 0")


def test_what_is_held_says_so_until_it_is_released(bench: SlurmBench) -> None:
    bench.template("true")
    bench.settings(submit={"always": ["--exclusive", "--hold"]})
    bench.start()
    number = bench.ask()
    wait_until(lambda: "JobHeldUser" in bench.why(number), 60, bench.log)
    bench.cluster.run("scontrol", "release", str(bench.batch_job(number)["scheduler_id"]))
    bench.await_cause(number, "exit 0")


def test_a_controller_that_lost_its_queue_and_gives_ids_away_again_confuses_nobody(bench: SlurmBench) -> None:
    bench.template("exec sleep 600")
    bench.start()
    lost = bench.ask()
    bench.await_state(lost, "running", 60)
    bench.cluster.stop_daemon("slurmctld")
    bench.cluster.start_daemon("slurmctld", "-c")
    # Slurm ends what it does not know any more; now and then accounting goes on to say that it runs.
    known = ("does not list it any more", "cancelled outside of Balsam")
    wait_until(lambda: any(words in bench.why(lost) for words in known), 90, bench.log)
    again = bench.ask()
    assert bench.await_state(again, "running", 90)["scheduler_id_text"] == bench.listed(again)[0]
    one = bench.batch_job(lost)
    assert one["state"] == "running" or one["cause"].startswith(known[1])


def test_an_allocation_whose_prolog_fails_shows_what_the_node_said(bench: SlurmBench) -> None:
    """Slurm cancels it as the user that it runs as itself, as an administrator would."""
    bench.template("exec sleep 600")
    bench.start()
    with bench.cluster.failing_prolog():
        done = bench.await_cause(bench.ask(), "cancelled outside of Balsam: by root")
    assert "olog" in done["status_info"]["error"]
