"""How the commands of batch systems are run, with real processes."""

from __future__ import annotations

import itertools
import os
import threading
import time
from pathlib import Path

from balsam.platform.schedulers.commands import Call, CommandLine, Done, Surroundings, environment
from balsam.platform.schedulers.slurm import SURROUNDINGS
from tests.waiting import wait_until

PLAIN = Surroundings(hidden=())


def line(time_limit_sec: float = 20.0, gap_sec: float = 0.0, most_bytes: int = 1 << 20) -> CommandLine:
    return CommandLine(PLAIN, os.environ, time_limit_sec, gap_sec, most_bytes)


def shell(text: str) -> Call:
    return Call(("sh", "-c", text))


def test_streams_and_exit_codes_are_kept_apart() -> None:
    done = line().run(shell("echo out; echo err >&2; exit 3"))
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n") and done.seconds > 0
    assert line().run(shell("kill -9 $$")).returncode == -9


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    done = line(time_limit_sec=0.5).run(shell(f"sleep 300 & echo $! > {pid}; echo early; sleep 300"))
    assert done.returncode is None and done.stdout == "early\n"
    assert done.sentence == "sh did not answer within 0.5 s"
    wait_until(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists())


def test_an_answer_does_not_wait_for_what_a_command_leaves_behind() -> None:
    began = time.monotonic()
    done = line().run(shell("sleep 5 & echo out"))
    assert (done.returncode, done.stdout) == (0, "out\n") and time.monotonic() - began < 4.0


def test_an_endless_answer_is_cut() -> None:
    done = line(most_bytes=1 << 20).run(Call(("yes",)))
    assert done.returncode is None and done.sentence == "yes printed more than 1 MB"


def test_a_missing_program_is_named() -> None:
    done = line().run(Call(("no-such-sbatch", "x")))
    assert done == Done(127, stderr="there is no program 'no-such-sbatch' on the PATH of the agent")


def test_a_script_may_come_on_standard_input(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    assert line().run(Call(("cat",), stdin=tmp_path / "script")).stdout == "#!/bin/sh\n"


def test_commands_run_one_at_a_time_with_a_pause_between_them() -> None:
    commands, ends = line(gap_sec=0.2), []

    def run() -> None:
        done = commands.run(shell("sleep 0.1"))
        ends.append(time.monotonic())
        assert done.returncode == 0

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(later - earlier >= 0.3 for earlier, later in itertools.pairwise(ends))


def test_the_end_of_the_agent_ends_its_command() -> None:
    commands = line(time_limit_sec=300.0)
    answers: list[Done] = []
    thread = threading.Thread(target=lambda: answers.append(commands.run(shell("sleep 300"))))
    thread.start()
    wait_until(lambda: commands.count)
    time.sleep(0.05)
    commands.close()
    thread.join(10.0)
    assert answers[0].returncode is None
    assert commands.run(shell("true")).returncode is None


def test_nothing_of_an_allocation_or_of_habits_reaches_a_command() -> None:
    """Kind: an inherited variable changes what a command does or prints."""
    environ = {
        **dict.fromkeys(("SLURM_JOB_ID", "SBATCH_PARTITION", "SQUEUE_FORMAT", "SACCT_FORMAT"), "x"),
        **dict.fromkeys(("SLURM_TIME_FORMAT", "SLURM_CPU_BIND", "BALSAM_LOCAL_ALLOCATION"), "x"),
        "SLURM_CONF": "/etc/s",
        "PATH": "/bin",
        "LC_ALL": "de_DE.UTF-8",
        "HOME": "/home/me",
    }
    kept = {"SLURM_CONF": "/etc/s", "PATH": "/bin", "HOME": "/home/me"}
    assert environment(environ, SURROUNDINGS, exports=False) == {
        **kept,
        "LC_ALL": "C",
        "SLURM_TIME_FORMAT": "%s",
    }
    assert environment(environ, SURROUNDINGS, exports=True) == {**kept, "LC_ALL": "de_DE.UTF-8"}
