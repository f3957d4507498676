"""What can go wrong with one job: it fails with the reason, and the launcher goes on with the others."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from balsam.schemas import serialize
from balsam.sdk.application import ApplicationDefinition
from tests.faulty_files import FaultyFiles
from tests.launcher.pilot import Pilot, long_sleep
from tests.waiting import wait_until


class Speak(ApplicationDefinition):
    def run(self, megabytes: int = 0) -> int:
        import time

        print("." * (megabytes << 20), flush=True)
        time.sleep(600 if megabytes > 1 else 0)
        return 1


def fails_alone(pilot: Pilot, job: int) -> str:
    """The reason of a job that fails, and whose launcher then runs another one."""
    other = pilot.submit(pilot.command("true", "Other"))
    rows = pilot.wait_done([job, *other], 30)
    assert [row["state"] for row in rows] == ["FAILED", "JOB_FINISHED"]
    told = [event["data"] for event in pilot.events(job) if event["to_state"] in ("RUN_ERROR", "FAILED")]
    return str(told[0].get("error") or told[0].get("message"))


def prepared(pilot: Pilot, workdir: str) -> Path:
    folder: Path = pilot.site.data_path / workdir / "0"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("is_function", [False, True])
@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_output_that_can_not_be_written(running: Pilot, kind: str, is_function: bool) -> None:
    workdir = f"no-output-{kind}-{is_function}"
    path = prepared(running, workdir) / "job.out"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    app = running.app_id(Speak) if is_function else running.command("true")
    [job] = running.submit(app, workdir=workdir)
    reason = fails_alone(running, job)
    code = errno.EISDIR if kind == "folder" else errno.ENXIO
    assert reason == f"can't write job.out in {path.parent}: {os.strerror(code)}"


@pytest.mark.parametrize("is_function", [False, True])
def test_workdir_in_whose_place_a_file_is(running: Pilot, is_function: bool) -> None:
    workdir = f"file-{is_function}"
    path = running.site.data_path / workdir
    path.write_text("a file")
    app = running.app_id(Speak) if is_function else running.command("true")
    [job] = running.submit(app, workdir=workdir)
    assert fails_alone(running, job) == f"can't make the workdir {path}/0: {os.strerror(errno.ENOTDIR)}"


def test_script_whose_interpreter_is_missing(running: Pilot) -> None:
    script = prepared(running, "script") / "script"
    script.write_text("#!/no/such/interpreter -x\necho ran\n")
    script.chmod(0o755)
    [job] = running.submit(running.command("./script 1"), workdir="script")
    reason = fails_alone(running, job)
    assert reason == (
        "can't start './script': its first line wants the interpreter '/no/such/interpreter', "
        "which does not exist"
    )


def test_program_that_may_not_be_executed(running: Pilot) -> None:
    (prepared(running, "plain") / "program").write_text("text")
    [job] = running.submit(running.command("./program"), workdir="plain")
    assert fails_alone(running, job) == "can't start './program': Permission denied"


class _Odd(ApplicationDefinition):
    def get_arg_str(self) -> Any:
        return {"none": None, "number": 5, "nul": "echo \0", "half": "echo \ud800"}.get(
            self.job.tags["what"], "echo fine"
        )

    def shell_preamble(self) -> Any:
        return {"lines": [None], "preamble": "echo \0"}.get(self.job.tags["what"])

    def get_environ_vars(self) -> Any:
        return {"name": {"A=B": "x"}, "empty": {"": "x"}, "value": {"A": "\0"}}.get(self.job.tags["what"], {})

    command_template = "true"


def test_whatever_an_app_makes_of_its_command_ends_that_job_alone(running: Pilot) -> None:
    app = running.app_id(_Odd)
    kinds = ["none", "number", "nul", "half", "lines", "preamble", "name", "empty", "value", "fine"]
    ids = [running.submit(app, tags={"what": kind})[0] for kind in kinds]
    rows = running.wait_done(ids)
    assert [row["state"] for row in rows] == ["FAILED"] * 9 + ["JOB_FINISHED"]


def test_parameters_of_older_clients_that_no_command_can_be_given(running: Pilot) -> None:
    app = running.command("echo {{ name }}")
    [job] = running.submit(app, serialized_parameters=serialize({"name": "run7\0"}))
    assert "NUL character" in fails_alone(running, job)


def test_preamble_that_fails(running: Pilot) -> None:
    class Prepared(ApplicationDefinition):
        command_template = "echo ran > ran"

        def shell_preamble(self) -> list[str]:
            return ["export X=1", "(exit 3)"]

    [job] = running.submit(running.app_id(Prepared))
    reason = fails_alone(running, job)
    assert reason == "balsam: the shell preamble failed with exit code 3: ( exit 3 )"
    row = running.row(job)
    assert row["return_code"] == 3
    assert not (running.site.data_path / row["workdir"] / "ran").exists()


@pytest.mark.parametrize("is_function", [False, True])
def test_full_disk(pilot: Pilot, is_function: bool) -> None:
    folder = pilot.site.data_path / "small"
    folder.mkdir()
    app = pilot.app_id(Speak) if is_function else pilot.command("head -c 1000000 /dev/zero")
    parameters = {"megabytes": 1} if is_function else {}
    [job] = pilot.submit(app, workdir="small", parameters_json=parameters)
    # A filesystem of the launcher's own, which takes no privileges.
    mount = f'mount -t tmpfs -o size=64k tmpfs {folder} && exec "$@"'
    pilot.launch(within=["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"])
    reason = fails_alone(pilot, job)
    assert f"the disk of {pilot.site.data_path}/small/0 is full" in reason


@pytest.mark.parametrize("is_function", [False, True])
def test_output_that_is_too_large_counts_from_the_start_of_the_run(pilot: Pilot, is_function: bool) -> None:
    pilot.set("launcher", max_output_mb=1)
    for workdir in ("small", "large"):
        (prepared(pilot, workdir) / "job.out").write_bytes(b"." * (3 << 20))  # of earlier runs
    if is_function:
        app = pilot.app_id(Speak)
        [small] = pilot.submit(app, workdir="small", node_packing_count=2)
        [large] = pilot.submit(
            app, workdir="large", parameters_json={"megabytes": 2}, node_packing_count=2, max_restarts=0
        )
    else:
        [small] = pilot.submit(pilot.command("sleep 7; echo short"), workdir="small", node_packing_count=2)
        [large] = pilot.submit(
            pilot.command(f"head -c 2000000 /dev/zero; {long_sleep()}"), workdir="large", node_packing_count=2
        )
    pilot.launch()
    assert [row["state"] for row in pilot.wait_done([small, large], 40)] == ["JOB_FINISHED", "FAILED"]
    assert "job.out grew beyond 1 MB" in pilot.events(large)[-2]["data"]["error"]


def test_job_of_which_each_launcher_dies_before_it_starts(pilot: Pilot, tmp_path: Path) -> None:
    """A launcher hangs here in the job's own folder, and is killed there."""
    files = FaultyFiles(pilot.site.data_path / "deadly", tmp_path)
    app = pilot.command("true")
    [job] = pilot.submit(app, workdir="deadly", max_restarts=1)
    beside = pilot.submit(app, 3)
    seen: set[Path] = set()
    with files.stall():
        for _ in range(2):
            launcher = pilot.launch(environment=files.environment)
            wait_until(lambda: bool(_notes_about(pilot, job) - seen), 30)
            seen.update(_notes_about(pilot, job))
            launcher.kill()
            launcher.wait()
        pilot.launch()
        rows = pilot.wait_done([job, *beside])
    assert [row["state"] for row in rows] == ["FAILED", *["JOB_FINISHED"] * 3]
    assert pilot.events(job)[-1]["data"]["message"].startswith("2 launchers died while preparing or starting")


def _notes_about(pilot: Pilot, job: int) -> set[Path]:
    found = set()
    for path in pilot.site.spool_path.glob("*.job"):
        with contextlib.suppress(FileNotFoundError):  # it is told by now
            if int(path.read_text() or 0) == job:
                found.add(path)
    return found
