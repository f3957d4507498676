"""`balsam job`, `balsam app`, `balsam event` against a real server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from balsam.api import App, ApplicationDefinition, Job, JobState, Session, Site
from balsam.cli.main import run
from balsam.client.transport import Client
from balsam.sdk.fields import UPDATE
from tests.cli.conftest import Balsam


@pytest.fixture
def site(client: Client, balsam: Balsam, home: Path) -> Site:
    """The user's only site, with two apps."""
    assert balsam("site", "init", "runs", "--name", "laptop").status == 0

    class Hello(ApplicationDefinition):
        site = "laptop"
        command_template = "echo Hello, {{ name }}!"

    class Add(ApplicationDefinition):
        site = "laptop"

        def run(self, a: int, b: int = 2) -> int:
            return a + b

    Hello.sync()
    Add.sync()
    return Site.objects.get(name="laptop")


def create(balsam: Balsam, *words: object) -> int:
    """The id of a new Hello job."""
    said = balsam("job", "create", "-w", "hello/1", "-a", "Hello", "-p", "name=you", "--json", *words)
    assert said.status == 0, said.err
    return int(json.loads(said.out)["id"])


def test_create_takes_the_published_flags(site: Site, balsam: Balsam) -> None:
    site.allowed_queues["local"].max_nodes = 2
    site.save()
    parent = create(balsam)
    resources = ["-n", 2, "-rpn", 4, "-tpr", 2, "-tpc", 2, "-g", 0.5, "-npc", 1, "-t", 30]
    texts = ["-lp", "cpu=yes", "-tag", "k=v", "-tag", "l=w"]
    job = Job.objects.get(id=create(balsam, *resources, *texts, "-pid", parent))
    assert (job.num_nodes, job.ranks_per_node, job.threads_per_rank, job.threads_per_core) == (2, 4, 2, 2)
    assert (job.gpus_per_rank, job.node_packing_count, job.wall_time_min) == (0.5, 1, 30)
    assert (job.tags, job.launch_params) == ({"k": "v", "l": "w"}, {"cpu": "yes"})
    assert job.parent_ids == {parent}
    assert job.get_parameters() == {"name": "you"}
    assert job.state is JobState.awaiting_parents


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["-a", "Helo", "-p", "name=x"], "Helo"),
        (["-a", "Hello"], "name"),
        (["-a", "Hello", "-p", "name=x", "-p", "nmae=x"], "nmae"),
        (["-a", "Hello", "-p", "name"], "key=value"),
        (["-a", "Hello", "-p", "name=x", "-w", "/absolute"], "workdir"),
        (["-a", "Hello", "-p", "name=x", "-s", "slot=laptop:/x"], "slot"),
        (["-a", "Hello", "-p", "name=x", "-pid", "999999"], "999999"),
        (["-a", "Hello", "-p", "name=x", "-n", "9"], "the queues of its site take at most 1 node "),
        (["-a", "Hello", "-p", "name=x", "--site", "frontera"], "frontera"),
    ],
)
def test_create_refuses_what_can_not_run(words: list[str], named: str, site: Site, balsam: Balsam) -> None:
    """What was typed is wrong, whoever finds it out: exit code 2."""
    said = balsam("job", "create", "-w", "x", *words)
    assert said.status == 2
    assert named in said.err
    assert Job.objects.count() == 0


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("3", 3),
        ("2.5", 2.5),
        ("true", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ('{"k": 1}', {"k": 1}),
        ('"3"', "3"),
        ("text", "text"),
        ("NaN", "NaN"),
        ("1.10", "1.10"),
        ("007", "007"),
    ],
)
def test_create_gives_a_function_what_json_says(
    typed: str, value: object, site: Site, balsam: Balsam
) -> None:
    """Where nothing is declared; `1.10` is how no number is written."""

    class Take(ApplicationDefinition):
        site = "laptop"

        def run(self, a) -> None: ...  # type: ignore[no-untyped-def]

    Take.sync()
    said = balsam("job", "create", "-w", "x", "-a", "Take", "-p", f"a={typed}")
    assert said.status == 0, said.err
    assert Job.objects.get(id=int(said.out.split()[2].removeprefix("id="))).get_parameters() == {"a": value}


def test_create_refuses_what_the_declared_type_does_not_take(site: Site, balsam: Balsam) -> None:
    said = balsam("job", "create", "-w", "x", "-a", "Add", "-p", "a=abc")
    assert said.status == 2 and "--param" in said.err and "a: 'abc' is no whole number" in said.err
    assert Job.objects.count() == 0


def test_create_gives_texts_to_commands_and_to_parameters_that_are_texts(site: Site, balsam: Balsam) -> None:
    class Say(ApplicationDefinition):
        site = "laptop"

        def run(self, text: str, number: int = 0) -> None: ...

    Say.sync()
    for app, given, got in (
        ("Say", ["-p", "text=3", "-p", "number=3"], {"text": "3", "number": 3}),
        ("Hello", ["-p", "name=3"], {"name": "3"}),
    ):
        said = balsam("job", "create", "-w", "x", "-a", app, *given)
        assert Job.objects.get(id=int(said.out.split()[2].removeprefix("id="))).get_parameters() == got


def test_ids_are_repeated_or_joined_by_commas(site: Site, balsam: Balsam) -> None:
    ids = [create(balsam) for _ in range(4)]
    one, two, three, four = ids
    words = ["--id", f"{one},{two}", "--id", three]
    assert len(balsam("job", "ls", *words).out.splitlines()) == 4
    assert balsam("job", "modify", *words, "--set-tag", "a=b").out == "Changed 3 jobs.\n"
    assert balsam("job", "rm", *words, "-y").out == "Removed 3 jobs.\n"
    assert balsam("job", "rm", "-i", four, "-y").out == "Removed 1 job.\n"
    for command in ("ls", "rm"):
        said = balsam("job", command, "--id", "1,x")
        assert said.status == 2 and "'x'" in said.err


def test_ls_filters(site: Site, balsam: Balsam) -> None:
    one, two = create(balsam, "-tag", "lane=a"), create(balsam, "-tag", "lane=b")

    def listed(*words: object) -> set[int]:
        lines = balsam("job", "ls", *words).out.splitlines()[1:]
        return {int(line.split()[0]) for line in lines}

    assert listed() == {one, two}
    assert listed("-t", "lane=a") == {one}
    assert listed("--id", f"{one},{two}") == {one, two}
    assert listed("-s", "FAILED") == set()
    assert listed("-ns", "failed") == {one, two}
    assert listed("-w", "hello") == {one, two}
    assert listed("-w", "nothing") == set()
    assert listed("-a", "Hello", "--site", "laptop") == {one, two}
    assert listed("-a", "Add") == set()
    assert listed("-n", 1) == {two}


def test_ls_says_that_there_are_more(site: Site, balsam: Balsam) -> None:
    create(balsam)
    create(balsam)
    assert "newest" in balsam("job", "ls", "-n", 1).err


def test_ls_by_state_counts(site: Site, balsam: Balsam) -> None:
    create(balsam, "-pid", create(balsam))
    said = balsam("job", "ls", "--by-state").out.split()
    assert said[-2:] == ["total", "2"]
    assert "AWAITING_PARENTS" in said


def test_ls_by_state_shows_empty_states_when_asked(site: Site, balsam: Balsam) -> None:
    create(balsam)
    rows = dict(line.split() for line in balsam("job", "ls", "--by-state", "-v").out.splitlines()[1:])
    assert set(JobState) <= set(rows) and rows["RUNNING"] == "0" and rows["total"] == "1"


def test_create_tells_the_id_as_a_script_reads_it(site: Site, balsam: Balsam) -> None:
    words = ["job", "create", "-w", "a", "-a", "Hello", "-p", "name=world"]
    said = balsam(*words)
    assert said.status == 0, said.err
    made = json.loads(balsam(*words, "--json").out)
    found = re.search(r"Added Job id=(\d+)", said.out)
    assert found is not None and int(found[1]) < made["id"] and made["workdir"] == "a"


def test_ls_refuses_a_state_that_there_is_not(site: Site, balsam: Balsam) -> None:
    said = balsam("job", "ls", "-s", "RUNING")
    assert said.status == 2
    assert "RUNNING" in said.err


def test_verbose_ls_says_why_a_job_waits(site: Site, balsam: Balsam) -> None:
    parent = create(balsam)
    child = create(balsam, "-pid", parent)
    said = balsam("job", "ls", "-v", "--id", child)
    assert "workdir:" in said.out
    assert str(parent) in next(line for line in said.out.splitlines() if line.startswith("why:"))


def test_why_is_one_line(site: Site, balsam: Balsam) -> None:
    said = balsam("job", "why", create(balsam))
    assert said.status == 0
    assert len(said.out.splitlines()) == 1


def test_why_of_several_counts_by_reason(site: Site, balsam: Balsam) -> None:
    parent = create(balsam)
    child = create(balsam, "-pid", parent)
    said = balsam("job", "why", parent, child)
    rows = [line.split()[:3] for line in said.out.splitlines()[1:]]
    assert rows == [["1", "laptop", "no_allocation"], ["1", "laptop", "parent_unfinished"]]
    assert balsam("job", "why", "-s", "AWAITING_PARENTS").out.splitlines()[1].split()[0] == "1"
    assert f"Job {parent} waits for nodes" in balsam("job", "why").out
    assert "finished" in balsam("job", "why", "-s", "JOB_FINISHED").out


def test_ls_shows_why_in_a_column_where_it_is_asked_for(site: Site, balsam: Balsam) -> None:
    job = create(balsam)
    header, row = balsam("job", "ls", "--why").out.splitlines()
    assert header.endswith("Why")
    assert f"Job {job} waits for nodes" in row and "`balsam queue submit`" in row
    assert "waits for nodes" not in balsam("job", "ls").out


def test_an_unknown_job_is_named(site: Site, balsam: Balsam) -> None:
    for words in (
        ["why", 999_999],
        ["ls", "--history", 999_999],
        ["modify", "-i", 999_999, "--set-tag", "a=b"],
    ):
        said = balsam("job", *words)
        assert said.status == 1
        assert "999999" in said.err


def test_history_and_events_show_the_moves(site: Site, balsam: Balsam) -> None:
    job = create(balsam, "-tag", "lane=a")
    balsam("job", "modify", "-i", job, "-s", "FAILED")
    history = balsam("job", "ls", "--history", job)
    assert history.status == 0
    assert "CREATED" in history.out and "FAILED" in history.out
    assert str(job) in balsam("event", "ls", "--to-state", "FAILED", "-t", "lane=a", "-j", job).out
    assert str(job) not in balsam("event", "ls", "--from-state", "RUNNING").out
    assert balsam("event", "ls", "--before", "2020-01-01").out.splitlines()[1:] == []


def test_modify_sets_tags_and_state(site: Site, balsam: Balsam) -> None:
    job = create(balsam, "-tag", "k=v")
    assert balsam("job", "modify", "-i", job, "--set-tag", "l=w", "-s", "failed").status == 0
    changed = Job.objects.get(id=job)
    assert changed.tags == {"k": "v", "l": "w"}
    assert changed.state is JobState.failed
    assert balsam("job", "modify", "-t", "l:w", "--set-tag", "k=2", "--unset-tag", "l", "-y").status == 0
    assert Job.objects.get(id=job).tags == {"k": "2"}


def test_modify_sets_every_field_that_a_job_may_have_changed(site: Site, balsam: Balsam) -> None:
    """Whatever `why` advises to change can be changed here."""
    job = create(balsam)
    words = ["-n", 2, "-rpn", 3, "-tpr", 4, "-tpc", 2, "-g", 0.5, "-npc", 6, "--wall-time-min", 7]
    words += ["--priority", -8, "--parents-must", "end", "--max-restarts", 9, "--mem-mb-per-rank", 10]
    words += ["--set-workdir", "else/where", "-lp", "x=1=2", "--data", '{"n": [1, null]}', "-p", "name=new"]
    said = balsam("job", "modify", job, *words)
    assert said.status == 0, said.err
    now = Job.objects.get(id=job)
    assert (now.num_nodes, now.ranks_per_node, now.threads_per_rank, now.threads_per_core) == (2, 3, 4, 2)
    assert (now.gpus_per_rank, now.node_packing_count, now.wall_time_min, now.priority) == (0.5, 6, 7, -8)
    assert (now.parents_must, now.max_restarts, now.mem_mb_per_rank) == ("end", 9, 10)
    assert (str(now.workdir), now.launch_params, now.data) == ("else/where", {"x": "1=2"}, {"n": [1, None]})
    assert now.get_parameters()["name"] == "new"
    settable = {name for name, field in Job.FIELDS.items() if field.use & UPDATE}
    flags = balsam("job", "modify", "--help").out
    not_here = {"return_code", "batch_job_id", "pending_file_cleanup", "state_timestamp", "state_data"}
    not_here |= {name for name in settable if name.startswith(("serialized", "parameters_json"))}
    for name in settable - not_here:
        assert f"--{name.replace('_', '-').removesuffix('s')}" in flags or f"--set-{name}" in flags, name


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--data", '{"loss": NaN}'], "data['loss'] holds nan"),
        (["--data", "[1]"], "JSON object"),
        (["--data", "{"], "no JSON"),
        (["--data", ""], "no JSON"),
        (["-n", 0], "num_nodes"),
        (["-n", "two"], "two"),
        (["-g", "nan"], "gpus_per_rank"),
        (["-npc", 0], "node_packing_count"),
        (["-rpn", -1], "ranks_per_node"),
        (["--wall-time-min", -1], "wall_time_min"),
        (["-s", ""], "''"),
        (["--set-workdir", ""], "names nothing"),
        (["-p", "nmae=x"], "nmae"),
        (["--set-tag", "k"], "KEY=VALUE"),
    ],
)
def test_modify_refuses_what_can_not_be_kept(
    words: list[object], told: str, site: Site, balsam: Balsam
) -> None:
    job = create(balsam)
    before = Job.objects.get(id=job).display_dict()
    said = balsam("job", "modify", job, *words)
    assert said.status != 0 and told in said.err
    assert Job.objects.get(id=job).display_dict() == before


def test_rm_by_site_alone_removes_that_sites_jobs(site: Site, balsam: Balsam) -> None:
    create(balsam)
    assert balsam("job", "rm", "--site", "", "-y").status == 2
    assert balsam("job", "rm", "--site", "all", "-y").status == 2
    assert balsam("job", "rm", "--site", "laptop", "-y").out == "Removed 1 job.\n"


def test_rm_needs_to_be_told_which(site: Site, balsam: Balsam) -> None:
    create(balsam)
    assert balsam("job", "rm", "-y").status == 2
    assert Job.objects.count() == 1


def test_rm_without_a_terminal_needs_yes(site: Site, balsam: Balsam) -> None:
    job = create(balsam)
    said = balsam("job", "rm", "-i", job)
    assert said.status == 2
    assert "-y" in said.err and "Usage:" not in said.err
    assert balsam("job", "rm", "-i", job, "-y").status == 0
    assert Job.objects.count() == 0


def test_rm_names_the_jobs_that_would_wait_for_ever(site: Site, balsam: Balsam) -> None:
    parent = create(balsam)
    child = create(balsam, "-pid", parent)
    said = balsam("job", "rm", "-i", parent)
    assert said.status == 2
    assert f"{child} (hello/1)" in said.err
    assert Job.objects.count() == 2
    together = balsam("job", "rm", "-i", parent, "-i", child)
    assert "wait for" not in together.err


def test_rm_removes_what_matches_and_no_more(site: Site, balsam: Balsam) -> None:
    create(balsam, "-tag", "lane=a")
    kept = create(balsam, "-tag", "lane=b")
    assert balsam("job", "rm", "-t", "lane=a", "-y").status == 0
    assert [job.id for job in Job.objects.all()] == [kept]
    assert balsam("job", "rm", "--all", "-y").status == 0
    assert Job.objects.count() == 0


def test_app_versions_with_their_sources_and_differences(site: Site, balsam: Balsam) -> None:
    app = App.objects.create(site.id, "Kept", "abc", "one\ntwo\n")
    app.source_code = "one\nthree\n"
    app.save()
    rows = json.loads(balsam("app", "versions", "Kept", "--json").out)
    assert [row["version"] for row in rows] == [1, 2]
    assert balsam("app", "versions", app.id, "--source", 1).out == "one\ntwo\n"
    assert "-two\n+three" in balsam("app", "versions", "Kept", "--diff", 2).out
    assert "has no version 3: there are 1 to 2" in balsam("app", "versions", "Kept", "--source", 3).err


def test_a_job_tells_the_version_that_it_ran(client: Client, site: Site, balsam: Balsam) -> None:
    """Not the one that was registered afterwards."""
    app = App.objects.get(name="Hello")
    job, waits = create(balsam), create(balsam)
    session = Session.objects.create(site_id=site.id, fenced=True)
    [mine] = session.acquire_jobs(max_num_jobs=1)
    assert mine.id == job
    told = {"id": job, "state": "RUNNING", "state_data": {"app_version": 1}}
    client.patch("/jobs/", [told], params={"session_id": session.id})
    app.source_code = "another one"
    app.save()
    assert re.search(r"^app_version: +1$", balsam("job", "ls", "-v", "--id", job).out, re.M)
    assert "app_version" not in balsam("job", "ls", "-v", "--id", waits).out


def test_app_ls_and_rm(site: Site, balsam: Balsam) -> None:
    create(balsam)
    assert {"Hello", "Add", "laptop"} <= set(balsam("app", "ls").out.split())
    assert "class Hello" in balsam("app", "ls", "-v", "-s", "laptop").out
    assert "1 job?" in balsam("app", "rm", "-n", "Hello").err
    assert balsam("app", "rm", "-n", "Hello", "-y").status == 0
    assert "Hello" not in balsam("app", "ls").out
    assert balsam("app", "rm", "-n", "Hello", "-y").status == 1
    assert balsam("app", "rm", "-y").status == 2


def test_inside_a_site_folder_lists_are_about_that_site(
    site: Site, balsam: Balsam, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(balsam)
    balsam("site", "init", "other")
    monkeypatch.chdir(home / "other")
    assert balsam("job", "ls").out.splitlines()[1:] == []
    assert len(balsam("job", "ls", "--site", "all").out.splitlines()) == 2


def test_an_error_comes_with_a_traceback_when_asked_for(
    client: Client, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["site", "rename", str(home), "other"], show_traceback=True) == 1
    assert "Traceback" in capfd.readouterr().err
