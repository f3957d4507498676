"""Launcher processes run jobs of all kinds, one after the other and side by side."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from balsam.launcher.backlog import OVERTAKE_SEC
from balsam.schemas import deserialize
from balsam.sdk.application import ApplicationDefinition
from balsam.sdk.context import session
from balsam.sdk.jobs import Job
from tests.launcher.pilot import Pilot
from tests.waiting import wait_until


def test_command_runs_in_its_workdir_with_its_parameters_and_environment(running: Pilot) -> None:
    app = running.command('echo {{ greeting }}" from $BALSAM_JOB_ID in $(pwd)"; env | grep BALSAM_ | sort')
    [job] = running.submit(app, parameters_json={"greeting": "hello"})
    [row] = running.wait_done([job])
    assert row["state"] == "JOB_FINISHED"
    assert row["return_code"] == 0
    output = running.output(job)
    assert f"hello from {job} in {running.site.data_path}/{row['workdir']}" in output
    for line in (
        f"BALSAM_JOB_ID={job}",
        "BALSAM_JOB_MODE=serial",
        "BALSAM_LAUNCHER_NODES=1",
        f"BALSAM_SITE_PATH={running.site.path}",
    ):
        assert line in output.splitlines()
    assert running.walk(job) == ["STAGED_IN", "PREPROCESSED", "RUNNING", "RUN_DONE", "JOB_FINISHED"]


def test_pwd_is_the_workdir_however_a_run_is_started(running: Pilot) -> None:
    class Where(ApplicationDefinition):
        def run(self) -> str:
            print("PWD=" + os.environ["PWD"])
            return os.environ["PWD"]

    apps = (running.command("env"), running.command("env; true"), running.app_id(Where))
    ids = [running.submit(app)[0] for app in apps]
    for row in running.wait_done(ids):
        lines = running.output(row["id"]).splitlines()
        assert f"PWD={running.site.data_path}/{row['workdir']}" in lines


def test_run_app_returns_its_value_and_keeps_its_output(running: Pilot) -> None:
    class Add(ApplicationDefinition):
        environment_variables = {"UNIT": "m"}

        def run(self, a: int, b: int = 1) -> str:
            print("python speaks")
            os.system("echo a child speaks")
            return f"{a + b} {os.environ['UNIT']} {os.environ['BALSAM_JOB_ID']}"

    app = running.app_id(Add)
    [job] = running.submit(app, parameters_json={"a": 41})
    [row] = running.wait_done([job])
    assert row["state"] == "JOB_FINISHED"
    assert deserialize(row["serialized_return_value"]) == f"42 m {job}"
    assert running.output(job) == "python speaks\na child speaks\n"


def test_exception_of_run_app_is_sent_and_its_traceback_is_in_the_error(running: Pilot) -> None:
    class Broken(ApplicationDefinition):
        def run(self) -> None:
            raise ValueError("no such luck")

    [job] = running.submit(running.app_id(Broken))
    [row] = running.wait_done([job])
    assert row["state"] == "FAILED"
    with session(running.client), pytest.raises(ValueError, match=r"^no such luck$") as raised:
        Job.objects.get(id=job).result()
    assert "in run" in str(raised.value.__cause__)
    [error] = [e["data"] for e in running.events(job) if e["to_state"] == "RUN_ERROR"]
    assert error["returncode"] == 1
    assert error["error"].count("ValueError: no such luck") == 1
    assert "ValueError: no such luck" in running.output(job)


def test_failing_command_tells_its_code_and_the_end_of_its_output(running: Pilot) -> None:
    app = running.command("for i in $(seq 30); do echo line $i; done; exit 7")
    [job] = running.submit(app)
    [row] = running.wait_done([job])
    assert (row["state"], row["return_code"]) == ("FAILED", 7)
    [error] = [e["data"] for e in running.events(job) if e["to_state"] == "RUN_ERROR"]
    assert error["error"].splitlines() == [f"line {n}" for n in range(21, 31)]


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("no-such-program-here x", "no program 'no-such-program-here'"),
        ("echo {{ missing }}", "missing"),
        ("/etc/passwd", "can't start '/etc/passwd'"),
    ],
)
def test_job_that_cannot_be_started_fails_with_the_reason(
    running: Pilot, template: str, sentence: str
) -> None:
    bad, good = running.command(template), running.command("true")
    ids = running.submit(bad) + running.submit(good)
    rows = running.wait_done(ids)
    assert [row["state"] for row in rows] == ["FAILED", "JOB_FINISHED"]
    assert sentence in running.events(ids[0])[-1]["data"]["error"]


def test_workdir_that_cannot_be_made_fails_the_job_only(running: Pilot) -> None:
    (running.site.data_path / "taken").write_text("a file")
    app = running.command("true")
    ids = running.submit(app, workdir="taken") + running.submit(app)
    assert [row["state"] for row in running.wait_done(ids)] == ["FAILED", "JOB_FINISHED"]
    assert "can't make the workdir" in running.events(ids[0])[-1]["data"]["error"]


def test_app_that_does_not_load_fails_its_jobs_with_the_reason(running: Pilot) -> None:
    app = running.command("true", "Unloadable")
    running.client.put(f"/apps/{app}", {"serialized_class": "bm90IGEgcGlja2xl", "hooks": []})
    [job] = running.submit(app)
    assert running.wait_done([job])[0]["state"] == "FAILED"
    told = running.events(job)[-1]["data"]["error"]
    assert f"the app Unloadable (id {app}) does not load: can't open the payload" in told


def test_overridden_hooks_make_the_command(running: Pilot) -> None:
    class Own(ApplicationDefinition):
        command_template = "echo {{ x }}"

        def get_arg_str(self) -> str:
            return f"echo own $PRE $VAR {self.job.get_parameters()['x']}"

        def shell_preamble(self) -> list[str]:
            return ["export PRE=before"]

        def get_environ_vars(self) -> dict[str, str]:
            return {"VAR": "between"}

    [job] = running.submit(running.app_id(Own), parameters_json={"x": 5})
    running.wait_done([job])
    assert running.output(job) == "own before between 5\n"


def test_isolated_runs_have_a_process_each(running: Pilot) -> None:
    class Alone(ApplicationDefinition):
        isolate = True

        def run(self) -> int:
            return os.getpid()

    rows = running.wait_done(running.submit(running.app_id(Alone), 3))
    assert len({deserialize(row["serialized_return_value"]) for row in rows}) == 3


def test_crash_of_a_worker_costs_only_its_job(running: Pilot) -> None:
    class Crash(ApplicationDefinition):
        def run(self, deadly: bool) -> int:
            if deadly:
                os._exit(9)
            return 1

    app = running.app_id(Crash)
    rows: list[dict[str, Any]] = [
        {"app_id": app, "workdir": f"c/{n}", "parameters_json": {"deadly": n == 2}} for n in range(6)
    ]
    ids = [row["id"] for row in running.client.post("/jobs/", rows)]
    states = [row["state"] for row in running.wait_done(ids)]
    assert states == ["JOB_FINISHED"] * 2 + ["FAILED"] + ["JOB_FINISHED"] * 3
    assert "died with exit code 9" in running.events(ids[2])[-1]["data"]["error"]


def test_packed_jobs_run_side_by_side(running: Pilot) -> None:
    # Each waits for the other five: alone, none would ever end.
    app = running.command(
        "touch ../here.$BALSAM_JOB_ID; while [ $(ls .. | grep -c here) -lt 6 ]; do sleep .02; done"
    )
    ids = running.submit(app, 6, node_packing_count=6)
    assert {row["state"] for row in running.wait_done(ids)} == {"JOB_FINISHED"}


def test_job_of_several_ranks_fails_with_a_sentence_where_there_is_no_mpi(pilot: Pilot) -> None:
    app = pilot.command("echo single")
    ids = pilot.submit(app, ranks_per_node=4) + pilot.submit(app)
    pilot.set("launcher", mpi_app_launcher="local")
    pilot.launch(mode="mpi")
    assert [row["state"] for row in pilot.wait_done(ids)] == ["FAILED", "JOB_FINISHED"]
    assert "set launcher.mpi_app_launcher" in pilot.events(ids[0])[-1]["data"]["error"]


def test_launcher_acquires_only_jobs_with_its_tags(pilot: Pilot) -> None:
    app = pilot.command("true")
    other = pilot.submit(app, tags={"set": "b"})
    mine = pilot.submit(app, tags={"set": "a"})
    pilot.set("launcher", idle_ttl_sec=1)
    launcher = pilot.launch("--tag", "set=a")
    pilot.wait_done(mine)
    assert launcher.wait(60) == 0
    assert pilot.states(other) == ["PREPROCESSED"]


def test_idle_launcher_ends_and_closes_its_session(pilot: Pilot) -> None:
    pilot.set("launcher", idle_ttl_sec=1)
    launcher = pilot.launch()
    assert launcher.wait(60) == 0
    assert pilot.client.get("/sessions/")["results"] == []


def test_app_synced_anew_is_used_for_later_jobs(running: Pilot) -> None:
    app = running.command("echo first", "Changing")
    first = running.submit(app)
    running.wait_done(first)
    assert running.command("echo second", "Changing") == app
    second = running.submit(app, workdir="later")
    running.wait_done(second)
    assert running.output(second[0]) == "second\n"


def test_what_the_node_lacks_is_left_to_nodes_that_have_it(running: Pilot) -> None:
    app = running.command("true")
    greedy = running.submit(app, gpus_per_rank=99, priority=9) + running.submit(
        app, mem_mb_per_rank=2**31 - 1, priority=9
    )
    [modest] = running.submit(app)
    running.wait_done([modest])
    for job in greedy:
        row = running.row(job)
        assert (row["state"], row["session_id"]) == ("PREPROCESSED", None)


def test_small_runs_start_beside_one_that_waits_for_its_whole_node(brief: Pilot) -> None:
    brief.launch()
    sleeper = brief.submit(brief.command("sleep 300"), node_packing_count=4)
    brief.wait_state(sleeper, "RUNNING")
    whole = brief.submit(brief.command("true"))
    wait_until(lambda: brief.rows(whole)[0]["session_id"] is not None, 30, lambda: brief.told(whole))
    held_at = time.monotonic()
    wait_until(lambda: time.monotonic() > held_at + 2.0, 5)  # so that it asks for more, as it stands then
    small = brief.submit(brief.command("true"), 3, node_packing_count=4)
    brief.wait_done(small, timeout=OVERTAKE_SEC / 2)
    assert brief.states(whole) == ["PREPROCESSED"]


def test_a_run_takes_the_code_that_is_registered_when_it_starts_and_records_its_version(
    running: Pilot,
) -> None:
    """Kind: the code that runs is older than what was registered before the job was submitted."""
    name = "Versioned"
    app = running.command("echo first; sleep 0.2", name)
    [first] = running.submit(app)
    running.wait_done([first])
    for number in range(2, 8):  # whether word of a new version comes before its jobs, or after them
        assert running.command(f"echo {number}", name) == app
        [job] = running.submit(app)
        running.wait_done([job])
        assert running.output(job) == f"{number}\n"
        started = next(event for event in running.events(job) if event["to_state"] == "RUNNING")
        assert started["data"]["app_version"] == number
    runs = running.client.get("/analytics/events/trace", {"job_id": [first, job]})["results"]
    assert [run["app_version"] for run in runs] == [1, 7]


def test_jobs_that_wait_for_their_start_take_newer_code(running: Pilot) -> None:
    app = running.command("echo old; until test -e ../../go; do sleep 0.05; done", "Waiting")
    ids = running.submit(app, 4, node_packing_count=1)
    # One runs; the launcher has taken others, too, and has made them ready.
    wait_until(
        lambda: (
            "RUNNING" in running.states(ids)
            and sum(row["session_id"] is not None for row in running.rows(ids)) > 1
        ),
        30,
        lambda: running.told(ids),
    )
    running.command("echo new", "Waiting")
    logs, told = running.site.log_path, f"another version: [{app}]"  # other tests have apps of their own
    wait_until(
        lambda: any(told in file.read_text() for file in logs.glob("*.log")),
        30,
        lambda: running.told(ids),
    )
    (running.site.data_path / "go").touch()
    running.wait_done(ids)
    assert sorted(running.output(job) for job in ids) == ["new\n", "new\n", "new\n", "old\n"]
