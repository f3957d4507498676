"""`balsam queue` against a real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from balsam.api import BatchJob, BatchJobPartition, JobMode, Site
from balsam.cli.batch_jobs import partition, readings
from balsam.client.transport import Client
from balsam.core.states import BatchJobState
from tests.cli.conftest import Balsam

ALLOCATION = ["-n", "1", "-t", "10", "-q", "local", "-A", "local", "-j", "serial"]


@pytest.fixture
def site(client: Client, balsam: Balsam, home: Path) -> Site:
    """The user's only site."""
    assert balsam("site", "init", "runs", "--name", "laptop").status == 0
    return Site.objects.get(name="laptop")


def test_partition_is_read() -> None:
    assert partition("mpi:2") == BatchJobPartition(job_mode=JobMode.mpi, num_nodes=2)
    tagged = BatchJobPartition(job_mode=JobMode.serial, num_nodes=1, filter_tags={"a": "1", "b": "2"})
    assert partition("serial:1:a=1:b=2") == tagged


@pytest.mark.parametrize("text", ["", "mpi", "mpi:x", "parallel:1", "mpi:1:a"])
def test_a_wrong_partition_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        partition(text)


def test_submit_takes_the_published_flags(site: Site, balsam: Balsam) -> None:
    said = balsam("queue", "submit", *ALLOCATION, "-tag", "lane=a", "--site", "laptop")
    assert said.status == 0, said.err
    [made] = BatchJob.objects.all()
    assert (made.num_nodes, made.wall_time_min, made.job_mode) == (1, 10, JobMode.serial)
    assert (made.queue, made.project, made.filter_tags) == ("local", "local", {"lane": "a"})
    assert made.partitions is None
    assert f"Added BatchJob id={made.id} at laptop" in said.out
    told = json.loads(balsam("queue", "submit", *ALLOCATION, "--json").out)
    assert told["id"] > made.id and told["state"] == "pending_submission"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("-n 1 -t 10 -q nowhere -A local -j serial", "nowhere"),
        ("-n 1 -t 10 -q local -A nobody -j serial", "nobody"),
        ("-n 1 -t 10 -q local -A local -j parallel", "parallel"),
        ("-n 99 -t 10 -q local -A local -j serial", "99"),
        ("-n 0 -t 10 -q local -A local -j serial", "0"),
        ("-n 1 -t 10 -q local -A local -j serial -x shout=yes", "shout"),
        ("-t 10 -q local -A local -j serial", "num-nodes"),
    ],
)
def test_submit_refuses_what_the_site_does_not_take(
    words: str, named: str, site: Site, balsam: Balsam
) -> None:
    said = balsam("queue", "submit", *words.split())
    assert said.status != 0
    assert named in said.err
    assert BatchJob.objects.count() == 0


def test_submit_needs_to_know_the_site(site: Site, balsam: Balsam) -> None:
    balsam("site", "init", "other")
    said = balsam("queue", "submit", *ALLOCATION)
    assert said.status == 2
    assert "laptop" in said.err and "other" in said.err and "--site" in said.err


def test_ls_shows_active_ones_and_history_all(site: Site, balsam: Balsam) -> None:
    balsam("queue", "submit", *ALLOCATION)
    balsam("queue", "submit", *ALLOCATION)
    first, second = sorted(BatchJob.objects.all(), key=lambda one: one.id)
    first.state, first.scheduler_id = "finished", 7  # type: ignore[assignment]
    first.save()
    active = balsam("queue", "ls")
    assert [line.split()[0] for line in active.out.splitlines()[1:]] == [str(second.id)]
    assert len(balsam("queue", "ls", "--history").out.splitlines()) == 3
    assert len(balsam("queue", "ls", "--history", "-n", 1).out.splitlines()) == 2
    assert balsam("queue", "ls", "--scheduler_id", 7).out.splitlines()[1].split()[0] == str(first.id)
    assert "wall_time_min:" in balsam("queue", "ls", "-v").out


def test_term_asks_the_agent_to_end_it(site: Site, balsam: Balsam) -> None:
    balsam("queue", "submit", *ALLOCATION)
    [one] = BatchJob.objects.all()
    one.state, one.scheduler_id = "running", 41  # type: ignore[assignment]
    one.save()
    assert balsam("queue", "term", 41).status == 0
    one.refresh_from_db()
    assert one.state == "pending_deletion"


def test_term_by_own_id_where_the_queue_gave_none(site: Site, balsam: Balsam) -> None:
    balsam("queue", "submit", *ALLOCATION)
    [one] = BatchJob.objects.all()
    assert balsam("queue", "term", "--id", one.id).status == 0


def test_term_of_one_that_has_ended_says_so(site: Site, balsam: Balsam) -> None:
    balsam("queue", "submit", *ALLOCATION)
    [one] = BatchJob.objects.all()
    one.state, one.scheduler_id = "finished", 1  # type: ignore[assignment]
    one.save()
    for words in ([1], ["--id", one.id]):
        said = balsam("queue", "term", *words)
        assert (said.status, said.err) == (0, "")
        assert said.out == f"BatchJob {one.id} has ended already (finished).\n"


def test_ls_notes_why_one_failed(site: Site, balsam: Balsam) -> None:
    balsam("queue", "submit", *ALLOCATION)
    [one] = BatchJob.objects.all()
    one.state = "submit_failed"  # type: ignore[assignment]
    one.status_info = {"error": "no such\nproject " + 300 * "x"}
    one.save()
    header, line = balsam("queue", "ls", "--history").out.splitlines()
    assert header.endswith("Note")
    assert "no such project xxx" in line and line.endswith(" ...")


def test_ls_counts_reports_that_were_refused(site: Site, balsam: Balsam) -> None:
    balsam("queue", "submit", *ALLOCATION)
    [one] = BatchJob.objects.all()
    one.status_info = {"refused": "3 reports of runs were refused", "spool": "the disk is full"}
    one.save()
    assert "the disk is full; 3 reports of runs were refused" in balsam("queue", "ls").out
    assert "3 reports of runs were refused" in balsam("queue", "ls", "--verbose").out


def test_term_of_nothing_is_an_error(site: Site, balsam: Balsam) -> None:
    assert balsam("queue", "term", 12345).status == 1
    assert balsam("queue", "term").status == 2


def test_term_of_an_ambiguous_id_names_both(site: Site, balsam: Balsam) -> None:
    balsam("site", "init", "other")
    for name in ("laptop", "other"):
        balsam("queue", "submit", *ALLOCATION, "--site", name)
    for one in BatchJob.objects.all():
        one.state, one.scheduler_id = "running", 1  # type: ignore[assignment]
        one.save()
    said = balsam("queue", "term", "--scheduler-id", 1)
    assert said.status == 2
    assert "--id" in said.err and "site laptop" in said.err and "site other" in said.err
    assert {one.state for one in BatchJob.objects.all()} == {BatchJobState.running}


def row(number: int, scheduler_id: int | None = None, state: str = "running") -> BatchJob:
    shape: dict[str, Any] = {"num_nodes": 1, "wall_time_min": 1, "job_mode": "serial", "site_id": 1}
    shape |= {
        "project": "local",
        "queue": "local",
        "optional_params": {},
        "filter_tags": {},
        "status_info": {},
    }
    shape |= {
        "id": number,
        "scheduler_id": scheduler_id,
        "state": state,
        "start_time": None,
        "end_time": None,
    }
    return BatchJob.from_row(shape, Client("http://127.0.0.1:1", None))


@pytest.mark.parametrize(
    ("known", "number", "meant"),
    [
        ([row(5, 1)], 5, [5]),
        ([row(5, 1)], 1, [5]),
        ([row(5, 5)], 5, [5]),
        ([row(5, 1), row(9, 5)], 5, [5, 9]),
        ([row(5, 1, "finished"), row(9, 5)], 5, [5, 9]),
        ([row(5), row(9, 5, "finished")], 5, [5, 9]),
        ([row(7, 5, "finished"), row(9, 5)], 5, [9]),
        ([row(7, 5), row(9, 5)], 5, [7, 9]),
        ([row(7, 5, "finished"), row(9, 5, "finished")], 5, [9]),
        ([row(7, 5)], 8, []),
    ],
)
def test_a_number_means_a_batch_jobs_id_or_the_schedulers(
    known: list[BatchJob], number: int, meant: list[int]
) -> None:
    assert [one.id for one in readings(known, number, number)] == meant


def test_term_of_two_readings_ends_nothing_without_an_answer(site: Site, balsam: Balsam) -> None:
    for _ in range(2):
        balsam("queue", "submit", *ALLOCATION)
    first, second = sorted(BatchJob.objects.all(), key=lambda one: one.id)
    second.state, second.scheduler_id = "running", first.id  # type: ignore[assignment]
    second.save()
    said = balsam("queue", "term", first.id)
    assert said.status == 2 and f"BatchJob {first.id}" in said.err and f"BatchJob {second.id}" in said.err
    assert balsam("queue", "term", "--id", first.id).status == 0
    assert [one.state for one in BatchJob.objects.all()].count(BatchJobState.pending_deletion) == 1


def test_why_and_its_column_tell_what_keeps_an_allocation(site: Site, balsam: Balsam) -> None:
    balsam("queue", "submit", *ALLOCATION)
    [made] = BatchJob.objects.all()
    sentence = balsam("queue", "why", made.id).out.strip()
    assert f"BatchJob {made.id} was asked for at" in sentence and "`balsam site start`" in sentence
    header, row = balsam("queue", "ls", "--why").out.splitlines()
    assert header.endswith("Why") and "`balsam site start`" in row
    assert made.why().code == "no_agent"
    assert [one.batch_job_id for one in BatchJob.objects.filter(id=made.id).why()] == [made.id]
    unknown = balsam("queue", "why", 999_999)
    assert unknown.status == 1 and "no BatchJob 999999" in unknown.err
