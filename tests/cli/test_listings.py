"""Every listing: columns, order, number of rows; as text, JSON and CSV; shown again when things change."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.api import BatchJob, Job
from balsam.cli.listing import Listing, View, cell, csv_text, json_text
from balsam.client.transport import Client
from tests.cli.campaign import Campaign, make
from tests.cli.conftest import INTERRUPTIBLE, Balsam
from tests.waiting import wait_until

THINGS = Listing(columns=("id", "name", "size"), shown=("id", "name"), costly=("size",), titles={"id": "ID"})
ROWS = [
    {"id": 2, "name": "b", "size": None},
    {"id": 10, "name": "a", "size": 5},
    {"id": 1, "name": "c", "size": 7},
]


@pytest.fixture
def campaign(client: Client, balsam: Balsam, home: Path) -> Campaign:
    assert balsam("site", "init", "runs", "--name", "laptop").status == 0
    return make("laptop")


@pytest.mark.parametrize(
    ("sort", "limit", "ids"),
    [
        (None, None, [2, 10, 1]),
        ("id", None, [1, 2, 10]),
        ("-id", 2, [10, 2]),
        ("name", None, [10, 2, 1]),
        ("size", None, [10, 1, 2]),
        (None, 1, [2]),
    ],
)
def test_rows_are_put_in_order_and_cut(sort: str | None, limit: int | None, ids: list[int]) -> None:
    assert [row["id"] for row in View(THINGS, sort=sort, limit=limit).cut(ROWS)] == ids


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ({"b": 1, "a": "x y"}, "a=x y b=1"),
        ([3, 4], "3,4"),
        ("two\nlines\tand  more", "two lines and more"),
        (0, "0"),
    ],
)
def test_a_cell_is_one_line(value: object, text: str) -> None:
    assert cell(value) == text


def test_json_and_csv_hold_what_text_can_not() -> None:
    rows = [{"a": 'comma, "quote"\nline', "b": {"k": [1]}, "c": None}]
    assert json.loads(json_text(rows)) == rows
    [read] = csv.DictReader(io.StringIO(csv_text(["a", "b", "c"], rows)))
    assert (read["a"], json.loads(read["b"]), read["c"]) == (rows[0]["a"], {"k": [1]}, "")
    assert json.loads(json_text([])) == []


def test_jobs_as_json_have_every_column(campaign: Campaign, balsam: Balsam) -> None:
    said = balsam("job", "ls", "--json")
    rows = json.loads(said.out)
    assert [row["id"] for row in rows] == campaign.ids
    first = rows[0]
    assert (first["app"], first["site"], first["workdir"]) == ("Hello", "laptop", "hello/1")
    assert first["tags"] == {"lane": "a"} and first["num_nodes"] == 1
    assert rows[3]["parent_ids"] == [campaign.one.id]
    assert "why" not in first and "serialized_parameters" not in first


def test_columns_are_chosen_and_ordered(campaign: Campaign, balsam: Balsam) -> None:
    header, row, *_ = balsam("job", "ls", "--columns", "state,id", "--id", campaign.one.id).out.splitlines()
    assert header.split() == ["State", "ID"]
    assert row.split() == ["PREPROCESSED", str(campaign.one.id)]
    said = balsam("job", "ls", "--csv", "--columns", "id,tags", "--id", campaign.two.id)
    assert list(csv.reader(io.StringIO(said.out))) == [
        ["id", "tags"],
        [str(campaign.two.id), '{"lane": "a", "hot": "yes"}'],
    ]
    [with_why] = json.loads(balsam("job", "ls", "--json", "--columns", "why", campaign.four.id).out)
    assert str(campaign.one.id) in with_why["why"]


def test_unknown_columns_and_orders_are_refused_with_the_possible_ones(
    campaign: Campaign, balsam: Balsam
) -> None:
    said = balsam("job", "ls", "--columns", "id,colour")
    assert said.status == 2 and "'colour'" in said.err and "workdir" in said.err
    said = balsam("job", "ls", "--sort", "num_nodes")
    assert said.status == 2 and "'num_nodes'" in said.err and "last_update" in said.err
    said = balsam("site", "ls", "--sort", "-colour")
    assert said.status == 2 and "'colour'" in said.err and "last_refresh" in said.err
    assert balsam("job", "ls", "--json", "--csv").status == 2


def test_the_server_orders_and_the_limit_takes_the_first(campaign: Campaign, balsam: Balsam) -> None:
    def ids(*words: object) -> list[int]:
        return [row["id"] for row in json.loads(balsam("job", "ls", "--json", *words).out)]

    by_workdir = [campaign.two.id, campaign.three.id, campaign.one.id, campaign.four.id, campaign.failed.id]
    assert ids("--sort", "workdir") == by_workdir
    assert ids("--sort", "-workdir", "--limit", 2) == by_workdir[:-3:-1]
    assert ids("--limit", 2) == campaign.ids[-2:]
    assert ids("-n", 0) == campaign.ids
    assert "first" in balsam("job", "ls", "--sort", "id", "-n", 1).err


def test_jobs_are_counted_by_what_they_have_in_common(campaign: Campaign, balsam: Balsam) -> None:
    def counted(*words: object) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = json.loads(balsam("job", "ls", "--json", *words).out)
        return rows

    waiting, parents, failed = "PREPROCESSED", "AWAITING_PARENTS", "FAILED"
    assert counted("--by-state") == [
        {"state": parents, "jobs": 1},
        {"state": waiting, "jobs": 3},
        {"state": failed, "jobs": 1},
    ]
    assert counted("--by-app") == [
        {"app": "Add", "jobs": 2, parents: 0, waiting: 2, failed: 0},
        {"app": "Hello", "jobs": 3, parents: 1, waiting: 1, failed: 1},
    ]
    assert counted("--by-site", "-s", "FAILED") == [{"site": "laptop", "jobs": 1, failed: 1}]
    assert counted("--by-tag", "lane") == [
        {"lane": "a", "jobs": 2, parents: 0, waiting: 2, failed: 0},
        {"lane": "b", "jobs": 2, parents: 1, waiting: 1, failed: 0},
        {"lane": None, "jobs": 1, parents: 0, waiting: 0, failed: 1},
    ]
    assert counted("--by-tag", "lane", "--tag", "hot=yes") == [{"lane": "a", "jobs": 1, waiting: 1}]
    assert balsam("job", "ls", "--by-app", "--by-site").status == 2
    assert balsam("job", "ls", "--by-app", "--sort", "id").status == 2


def test_counts_as_text_and_csv(campaign: Campaign, balsam: Balsam) -> None:
    assert balsam("job", "ls", "--by-tag", "lane", "-t", "lane=b").out.splitlines() == [
        "Lane  Jobs  AWAITING_PARENTS  PREPROCESSED",
        "b     2     1                 1",
    ]
    assert balsam("job", "ls", "--by-state", "--csv", "-a", "Add").out == "state,jobs\nPREPROCESSED,2\n"


def test_every_listing_is_there_as_json_and_csv(campaign: Campaign, balsam: Balsam) -> None:
    batch_job = BatchJob.objects.create(1, 10, "serial", campaign.site.id, "local", "local")
    for words, key, value in (
        (["app", "ls", "--sort", "-name"], "name", "Hello"),
        (["site", "ls"], "name", "laptop"),
        (["queue", "ls"], "id", batch_job.id),
        (["event", "ls", "-j", campaign.failed.id, "--to-state", "RUN_ERROR"], "to_state", "RUN_ERROR"),
        (["job", "ls", "--history", campaign.one.id], "to_state", "STAGED_IN"),
        (["job", "why"], "code", "no_agent"),
        (["site", "token", "ls"], "site", "laptop"),
        (["logout", "--list"], "method", "embedded"),
    ):
        said = balsam(*words, "--json")
        assert said.status == 0, said.err
        rows = json.loads(said.out)
        if words[0] not in ("logout", "job"):
            assert rows[0][key] == value, rows
        else:
            assert all(key in row for row in rows)
        table = list(csv.DictReader(io.StringIO(balsam(*words, "--csv").out)))
        assert [row[key] for row in table] == [str(row[key]) for row in rows]
    assert json.loads(balsam("transfer", "ls", "--json").out) == []
    assert balsam("logout", "--json").status == 2


def test_queue_ls_takes_columns_order_and_why(campaign: Campaign, balsam: Balsam) -> None:
    sizes = {
        BatchJob.objects.create(1, minutes, "serial", campaign.site.id, "local", "local").id: minutes
        for minutes in (30, 10, 20)
    }
    rows = json.loads(balsam("queue", "ls", "--json", "--sort", "-wall_time_min", "--limit", 2).out)
    assert [row["wall_time_min"] for row in rows] == [30, 20]
    assert [row["id"] for row in json.loads(balsam("queue", "ls", "--json", "-n", 1).out)] == [max(sizes)]
    assert "The 2 newest of 3;" in balsam("queue", "ls", "-n", 2).err
    assert "The 1 first of 3;" in balsam("queue", "ls", "-n", 1, "--sort", "id").err
    assert balsam("queue", "ls", "-n", 3).err == ""
    header, *_ = balsam("queue", "ls", "--why", "--columns", "id,note").out.splitlines()
    assert header.split() == ["ID", "Note", "Why"]


@pytest.fixture
def watched(campaign: Campaign, home: Path) -> Iterator[subprocess.Popen[str]]:
    command = [
        *INTERRUPTIBLE,
        "job",
        "ls",
        "--watch",
        "0.2",
        "--columns",
        "id,state",
    ]
    with (home / "said").open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, text=True, env=os.environ)
    yield process
    process.kill()
    process.wait()


def test_watch_shows_changes_soon_and_ends_at_an_interrupt(
    watched: subprocess.Popen[str], campaign: Campaign, home: Path
) -> None:
    def said() -> str:
        return (home / "said").read_text()

    wait_until(lambda: said().count("ID") == 1, on_timeout=said)
    campaign.three.kill()
    # Long before the safety poll.
    wait_until(
        lambda: f"{campaign.three.id}" in said() and said().count("FAILED") == 3, timeout=15, on_timeout=said
    )
    assert said().count("ID") == 2
    watched.send_signal(signal.SIGINT)
    assert watched.wait(20) == 0
    assert "Traceback" not in said()


def test_counts_through_the_sdk(campaign: Campaign) -> None:
    assert Job.objects.filter(tags={"lane": "a"}).counts() == {None: {"PREPROCESSED": 2}}
    assert Job.objects.all().counts("app")["Add"] == {"PREPROCESSED": 2}
    assert Job.objects.filter(id=[]).counts() == {}
    with pytest.raises(ValueError, match="slice"):
        Job.objects.all()[:3].counts()


def test_events_and_sites_are_chosen_by_site(campaign: Campaign, balsam: Balsam, home: Path) -> None:
    assert balsam("site", "init", "other").status == 0

    def count(*words: object) -> int:
        return len(json.loads(balsam(*words, "--json").out))

    everything = count("event", "ls")
    assert everything > 4 == count("event", "ls", "--site", "laptop", "--to-state", "STAGED_IN")
    assert count("event", "ls", "--site", "other") == 0
    os.chdir(home / "other")  # the fixture sets it back
    assert count("event", "ls") == 0
    assert count("event", "ls", "--site", "all") == everything
    assert count("event", "ls", "-j", campaign.one.id) > 0
    assert (count("site", "ls"), count("site", "ls", "--site", "this")) == (2, 1)


def test_events_are_chosen_by_several_ids_and_by_none_that_is_there(
    campaign: Campaign, balsam: Balsam
) -> None:
    def of(*words: object) -> list[int]:
        said = balsam("event", "ls", "--json", *words)
        assert said.status == 0, said.err
        return [row["job_id"] for row in json.loads(said.out)]

    assert set(of("-j", f"{campaign.one.id},{campaign.two.id}", "-j", campaign.four.id)) == {
        *(campaign.one.id, campaign.two.id, campaign.four.id)
    }
    assert of("-b", 0) == of("--scheduler-id", 0) == []
    for words in (["-j", ""], ["--id", ","], ["--to-state", ""], ["--from-state", ""]):
        assert balsam("event", "ls", *words).status == 2
    assert (
        balsam("transfer", "ls", "-s", "").status == balsam("transfer", "ls", "--direction", "").status == 2
    )
    assert balsam("job", "ls", "--by-tag", "").status == 2


def test_times_beyond_the_calendar_are_refused(client: Client, balsam: Balsam) -> None:
    for words in (["job", "ls", "--updated-after"], ["event", "ls", "--before"]):
        for time in ("0001-01-01T00:00+14:00", "9999-12-31T23:00-14:00"):
            said = balsam(*words, time)
            assert said.status == 2 and "than any time" in said.err


@pytest.mark.parametrize(
    ("words", "idle"),
    [
        ("job why 1 --sort jobs", "--sort does nothing with one job"),
        ("job why 1 -n 3", "--limit does nothing with one job"),
        ("app ls -v --json", "--json does nothing with --verbose"),
        ("site ls -v --columns id", "--columns does nothing with --verbose"),
        ("queue ls -v --why", "--why does nothing with --verbose"),
        ("app versions Hello --source 1 --csv", "--csv does nothing with --source"),
        ("logout --sort id", "--sort does nothing without --list"),
        ("logout --list --all", "--list ends nothing"),
        (
            "alert add site-down --webhook http://h --min-jobs 3",
            "--min-jobs does nothing in a site-down rule",
        ),
        ("report -n 3", "--num does nothing in a report of the format text"),
        ("report -o page.csv --title T", "--title does nothing in a report of the format csv"),
        ("report -o figure.svg --by-tag k", "--by-tag does nothing in a report of the format svg"),
        ("server up -p . --foreground --no-log", "--log/--no-log does nothing with --foreground"),
        ("server prune --older-than 3d --data . -p .", "--data does nothing with --path"),
    ],
)
def test_an_option_that_does_nothing_beside_another_is_refused(
    words: str, idle: str, client: Client, balsam: Balsam
) -> None:
    """The kind: an option that is taken and ignored."""
    said = balsam(*words.split())
    assert said.status == 2 and said.out == "" and idle in said.err


@pytest.mark.parametrize(
    ("words", "unknown"),
    [
        ("job ls 999998 999999", "no job 999998, 999999"),
        ("job ls --parent 999999", "no job 999999"),
        ("job why --batch-job 999999", "no BatchJob 999999"),
        ("job kill 999999 --state FAILED -y", "no job 999999"),
        ("job modify 999999 --in-state FAILED --priority 1 -y", "no job 999999"),
        ("event ls -j 999999", "no job 999999"),
        ("event ls -b 999999", "no BatchJob 999999"),
        ("event ls --id 999999", "no event 999999"),
        ("event tail -f -j 999999", "no job 999999"),
        ("transfer ls -j 999999", "no job 999999"),
        ("report -i 999999", "no job 999999"),
        ("queue ls --scheduler-id 999999", "no BatchJob with the scheduler's id 999999"),
        ("queue term 999999", "no BatchJob 999999 or with the scheduler's id 999999"),
        ("queue why 999999", "no BatchJob 999999"),
        ("site token revoke 999999 -y", "no token 999999"),
        ("logout --id 999999", "no login 999999"),
    ],
)
def test_what_is_not_there_is_named(words: str, unknown: str, client: Client, balsam: Balsam) -> None:
    """The kind: ids of nothing, which were answered like a choice that nothing matches, or without a name."""
    said = balsam(*words.split())
    assert said.status == 1 and f"Error: {unknown}" in said.err and "(see `balsam " in said.err


def test_what_is_described_in_words_is_ordered_and_cut_as_a_table_is(
    campaign: Campaign, balsam: Balsam
) -> None:
    said = balsam("app", "ls", "-v", "--sort", "-name", "-n", "1")
    assert "Hello" in said.out and "Add" not in said.out and "The first 1 of 2" in said.err
