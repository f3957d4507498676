"""Faults planted at a site with a real agent, and the sentences that its user gets of them."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from typing import Any

import pytest

from balsam.core.clock import now_us
from balsam.platform.schedulers.allocation import (
    Allocation,
    Later,
    QueueView,
    Records,
    Submission,
    Submitting,
)
from balsam.runtime.site_folder import NoSiteHere, SiteFolder
from balsam.site.labels import Labels
from balsam.site.processes import agent_status, start_agent, stop_agent
from balsam.site.scheduler import SchedulerService
from balsam.site.services import Stop
from tests.site.bench import Bench
from tests.waiting import wait_until


def why(bench: Bench, job_id: int) -> tuple[str, str]:
    answer = bench.client.get(f"/jobs/{job_id}/why")
    return answer["code"], answer["sentence"]


def queue_why(bench: Bench, batch_job_id: int) -> tuple[str, str]:
    answer = bench.client.get(f"/batch-jobs/{batch_job_id}/why")
    return answer["code"], answer["sentence"]


def hang(self: Any) -> None:
    import threading

    threading.Event().wait()


def test_a_hook_that_hangs_is_named_with_the_job_that_waits_behind_it(bench: Bench) -> None:
    bench.start()
    hanging, behind = bench.jobs(bench.app(preprocess=hang), 2)
    wait_until(lambda: why(bench, hanging)[0] == "hook_running", 25.0, bench.log)
    assert f"preprocess() of job {hanging} has been running" in why(bench, hanging)[1]
    code, sentence = why(bench, behind)
    assert code == "hook_queued" and f"`balsam job kill {hanging}`" in sentence
    bench.client.post(f"/jobs/{hanging}/kill", None)
    bench.await_states([hanging], "FAILED")
    assert why(bench, hanging)[0] == "failed" and "killed by" in why(bench, hanging)[1]


def test_an_agent_that_has_stopped_or_lost_its_token_is_missed(bench: Bench) -> None:
    bench.start()
    stop_agent(bench.site)
    (job_id,) = bench.jobs(bench.app(preprocess=hang))
    code, sentence = why(bench, job_id)
    assert code == "no_agent" and f"run `balsam site start` in {bench.site.path}" in sentence
    for token in bench.client.get("/auth/site-tokens"):
        if token["site_id"] == bench.site.site_id:
            bench.client.delete(f"/auth/site-tokens/{token['id']}")
    code, sentence = why(bench, job_id)
    assert code == "no_agent" and "the site's token was revoked at" in sentence
    report = start_agent(bench.site)
    assert not report.started and "`balsam site token renew`" in report.sentence


def test_a_full_disk_keeps_an_allocation_waiting_until_there_is_room(bench: Bench) -> None:
    """Kind: a fault of the agent's machine, held against what was asked for."""
    bench.start()
    # The next BatchJob of this server, of which other tests of this process ask for none meanwhile.
    number = bench.ask(queue="nowhere") + 1
    script = bench.site.job_path / f"qlaunch{number:05d}.sh"
    script.symlink_to("/dev/full")
    assert bench.ask() == number
    wait_until(lambda: "waiting" in bench.batch_job(number)["status_info"], 25, bench.log)
    code, sentence = queue_why(bench, number)
    assert code == "waits_its_turn" and f"{script}: No space left on device; it is tried again" in sentence
    assert bench.batch_job(number)["state"] == "pending_submission"
    code, sentence = queue_why(bench, number - 1)
    assert code == "submit_failed" and "this site has no queue 'nowhere'; it has local" in sentence
    script.unlink()
    bench.template("true")
    bench.await_state(number, "finished")


def test_hooks_wait_on_a_full_disk_and_why_names_it(bench: Bench) -> None:
    """Kind: a fault of the agent's machine that is told to nobody, or held against a job.

    Its session can't be noted either, and all works nevertheless.
    """
    bench.site.agent_session_path.mkdir()
    log = bench.site.data_path / "full" / "balsam.log"
    log.parent.mkdir()
    log.symlink_to("/dev/full")
    bench.start()
    [job] = bench.jobs(bench.app(preprocess=passes), workdir="full")
    wait_until(lambda: why(bench, job)[0] == "node_trouble", 25.0, bench.log)
    _, sentence = why(bench, job)
    assert f"can't write balsam.log in {log.parent}: No space left on device; it is tried again" in sentence
    log.unlink()
    bench.await_states([job], "PREPROCESSED")
    assert stop_agent(bench.site).stopped and "crashed" not in bench.log()


def passes(self: Any) -> None:
    self.job.state = "PREPROCESSED"


def test_an_allocation_whose_launcher_can_not_start_tells_its_last_words(bench: Bench) -> None:
    bench.template("echo balsam launcher: no such module; exit 2")
    bench.start()
    number = bench.ask()
    bench.await_state(number, "finished")
    code, sentence = queue_why(bench, number)
    assert code == "ended_early" and "exit 2: balsam launcher: no such module" in sentence


def test_a_site_whose_folder_was_moved_is_found_where_its_agent_works(bench: Bench) -> None:
    bench.start()
    stop_agent(bench.site)
    old, new = bench.site.path, bench.site.path.with_name("moved")
    old.rename(new)
    with pytest.raises(NoSiteHere, match="if it was moved, go to its new folder"):
        SiteFolder(old)
    bench.site = SiteFolder(new)
    bench.start()
    stop_agent(bench.site)
    code, sentence = queue_why(bench, bench.ask())
    assert code == "no_agent" and f"run `balsam site start` in {new}" in sentence


class Missing:
    """A batch system whose commands are not installed."""

    poll_sec = 0.1
    there = False

    def submit(self, submission: Submission) -> Submitting:
        return Later("not asked for here")

    def look(self) -> QueueView:
        if self.there:
            return QueueView(taken_at=now_us())
        return QueueView(complete=False, trouble="there is no program 'squeue' on the PATH of the agent")

    def account(self, labels: Mapping[str, str]) -> Records:
        return Records()

    def search(self, labels: Collection[str], since_us: int) -> Records:
        return Records()

    def delete(self, allocation: Allocation, politely: bool) -> str:
        return "not asked for here"

    def close(self) -> None:
        pass


def test_a_scheduler_that_is_missing_is_told_until_it_is_there(bench: Bench) -> None:
    site, stop, scheduler = bench.site, Stop(), Missing()
    limits = site.settings.scheduler
    assert limits is not None
    bench.client.post("/sessions/", {"site_id": site.site_id, "fenced": True, "num_nodes": 0})
    number = bench.ask()
    client = site.client()
    labels = Labels("a" * 6)
    told: list[str] = []
    service = SchedulerService(
        site, client, limits, scheduler, labels, stop.bell(), lambda _: True, lambda _: None, told.append
    )
    thread = threading.Thread(target=service.run, args=[stop])
    thread.start()
    try:
        wait_until(lambda: queue_why(bench, number)[0] == "scheduler_fails")
        assert "no program 'squeue' on the PATH of the agent" in queue_why(bench, number)[1]
        scheduler.there = True
        service.bell.ring()
        wait_until(lambda: "scheduler" not in bench.batch_job(number)["status_info"])
        wait_until(lambda: "waiting" in bench.batch_job(number)["status_info"])
        assert told[0] and not told[-1]
    finally:
        stop.set()
        thread.join()
        client.close()
    assert not agent_status(site).running
