"""Runs of `mpi` mode: each by the platform's MPI launcher, started from this node."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from signal import Signals
from typing import Any

from balsam.core.failure_text import telling_line
from balsam.core.start import command as start_command
from balsam.launcher.command import Command, CommandError, argument_list, shell, under_launcher
from balsam.launcher.executor import LocalExecutor, NotStartable, Start, make_workdir, unstarted
from balsam.launcher.placement import Seat
from balsam.launcher.reports import Ending, tail
from balsam.platform.mpi import launcher_names
from balsam.platform.mpi.launch import Host, Launch, LaunchError, MpiLauncher
from balsam.platform.mpi.refusals import wrong_launcher
from balsam.platform.nodes import Node
from balsam.runtime import python_rank
from balsam.runtime.job_output import place
from balsam.runtime.requests import Request, encode_request

_LINES_READ = 200
NEVER_RAN = "what was to start run() ended well, and run() was never started"
ASKED_SEC = 1.0  # between SIGTERM and SIGKILL
# Signals that users may want their runs to have must not end the shell around them.
_NOTING = """trap 'exit 143' TERM; trap : HUP INT QUIT USR1 USR2 ALRM XCPU; "$@\""""
Environment = Mapping[str, str]


def launch_of(
    job: Mapping[str, Any], seats: Sequence[Seat], environment: Mapping[str, str], nodes: Mapping[str, Node]
) -> Launch:
    """A run's launch, but for its words. A single rank on a node may use all of it as it likes."""
    alone = job["ranks_per_node"] == 1
    per_core = job["threads_per_core"]

    def host(seat: Seat) -> Host:
        node = nodes[seat.node]
        cpus = () if alone else node.hardware_threads(seat.cpus, per_core)
        return Host(seat.node, cpus, seat.gpus, whole=len(seat.cpus) == len(node.cpus))

    return Launch(
        words=(),
        hosts=[host(seat) for seat in seats],
        ranks_per_node=job["ranks_per_node"],
        threads_per_rank=job["threads_per_rank"],
        threads_per_core=per_core,
        gpus_per_rank=job["gpus_per_rank"],
        environment=environment,
        params=job["launch_params"],
    )


def needed_line(line: list[str], launch: Launch, path: str | None) -> list[str]:
    """The launcher's words; none for a single rank on a machine that has no such launcher."""
    alone = launch.ranks == 1 and not launch.params
    return [] if alone and line and shutil.which(line[0], path=path) is None else line


def under_mpi(line: list[str], command: Command) -> Command:
    """The command that starts all ranks. Preamble and shell are there once, around the MPI launcher:

    so `module load` works as in a job script, and a redirection takes the output of all ranks.
    """
    return replace(command, text=under_launcher(shlex.join(line), command.text))


def told_of_sigterm(words: list[str], environment: Environment) -> list[str]:
    """The words within a shell that notes whether it had SIGTERM, as the whole process group has.

    After it Hydra's mpiexec ends with 0 and Open MPI's with 1, as if the program had ended so by itself. A
    program that is not there is left alone: its start tells.
    """
    if shutil.which(words[0], path=environment.get("PATH")) is None:
        return words
    return [*shell(_NOTING), "mpi", *words]


class MpiExecutor:
    """An executor that puts the MPI launcher's line before each command, and runs `run()` on every rank."""

    def __init__(
        self,
        local: LocalExecutor,
        mpi: MpiLauncher,
        site_path: Path,
        environment: Environment,
        nodes: Sequence[Node],
    ) -> None:
        self._local = local
        local.kill = lambda job_id: self.signal(job_id, Signals.SIGKILL)
        self._mpi = mpi
        self._site_path = site_path
        self._environment = environment
        self._kill_at: dict[int, float] = {}
        self._nodes = {node.name: node for node in nodes}

    def __len__(self) -> int:
        return len(self._local)

    def start(self, what: Start) -> None:
        try:
            self._start(what)
        except (LaunchError, CommandError) as exc:
            raise NotStartable(str(exc)) from exc

    def _start(self, what: Start) -> None:
        self._kill_at.pop(what.job_id, None)  # of an earlier run, which obeyed SIGTERM
        own = {**what.environment, **(what.command.environment if what.command else {})}
        environment = {**self._environment, **own}
        line = self._line(what, own, environment)
        if what.request is not None:
            self._start_function(what, what.request, line, environment)
        elif what.command is not None:
            command = under_mpi(line, what.command)
            words = argument_list(command, environment)
            if line:
                words = told_of_sigterm(words, environment)
            self._local.start_words(what, words, command.text, environment, self._refine(what, line))

    def _line(self, what: Start, own: Environment, environment: Environment) -> list[str]:
        launch = launch_of(what.job, what.seats, own, self._nodes)
        return needed_line(self._mpi.command(launch), launch, environment.get("PATH"))

    def _refine(self, what: Start, line: Sequence[str]) -> Callable[[Ending], Ending]:
        """Names the setting in the ending of a run that its MPI launcher did not start."""
        if not line:
            return lambda ending: ending
        return partial(_blamed, self._mpi.name, what)

    def _start_function(
        self, what: Start, request: Request, line: list[str], environment: Environment
    ) -> None:
        make_workdir(what.workdir)
        files = python_rank.Files.of(what.workdir, what.job_id)
        try:
            files.ask(encode_request(request, set()))
        except OSError as exc:
            raise unstarted(exc, f"can't write {files.request}") from exc
        words = [*line, *start_command(python_rank.__name__, request.interpreter), str(self._site_path)]
        words.append(str(files.request))
        if what.command is not None:  # once, before the MPI launcher, as for commands
            words = argument_list(replace(what.command, text=shlex.join(words)), environment)
        if line:
            words = told_of_sigterm(words, environment)
        refine = self._refine(what, line)

        def ended(ending: Ending) -> Ending:
            return refine(_answered(files, ending))

        self._local.start_words(what, words, "", environment, ended)

    def signal(self, job_id: int, number: Signals) -> None:
        """An MPI launcher that is asked first takes its ranks on other nodes with it; srun can't else."""
        if number is Signals.SIGKILL and job_id not in self._kill_at:
            self._local.signal(job_id, Signals.SIGTERM)
            self._local.signal(job_id, Signals.SIGCONT)
            self._kill_at[job_id] = time.monotonic() + ASKED_SEC
        elif number is not Signals.SIGKILL:
            self._local.signal(job_id, number)

    def jobs_of(self, killed: Collection[int]) -> set[int]:
        return self._local.jobs_of(killed)

    def resume(self, *, after_kill: bool) -> None:
        self._local.resume(after_kill=after_kill)

    def flush(self) -> None:
        self._local.flush()

    def beat(self) -> None:
        self._local.beat()

    def keep_up(self) -> None:
        self._local.keep_up()
        now = time.monotonic()
        for job_id in [job_id for job_id, due in self._kill_at.items() if now >= due]:
            del self._kill_at[job_id]
            self._local.signal(job_id, Signals.SIGKILL)

    @property
    def expects_nodes(self) -> bool:
        return False

    def close(self) -> None:
        self._local.close()


def _blamed(name: str, what: Start, ending: Ending) -> Ending:
    """The ending with what to change where the MPI launcher itself is the wrong one."""
    if ending.returncode <= 0 or ending.error:
        return ending
    path = place(what.workdir, what.job_id)
    output = "" if path is None else tail(Path(path), _LINES_READ, ending.output_begins)
    hint = wrong_launcher(name, telling_line(output), launcher_names())
    return ending if hint is None else replace(ending, error=hint, reason=hint)


def _answered(files: python_rank.Files, ending: Ending) -> Ending:
    """The ending with what the ranks answered: the value of rank 0, or the first exception.

    Ranks that end their processes themselves answer nothing: their exit code counts, as in `serial` mode. An
    MPI launcher, or a preamble, that ends well without having started any has run nothing.
    """
    has_begun = files.has_begun()
    answer = files.take_answer()
    if answer is None:
        never_ran = ending.returncode == 0 and not has_begun
        return replace(ending, returncode=1, error=NEVER_RAN) if never_ran else ending
    if answer["ok"] and ending.returncode == 0:
        return replace(ending, payload={"serialized_return_value": answer["serialized_return_value"]})
    if answer["ok"]:
        return ending
    payload = {"serialized_exception": answer["serialized_exception"]}
    return replace(ending, returncode=ending.returncode or 1, error=answer["error"], payload=payload)
