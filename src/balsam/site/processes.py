"""Starting and stopping the agent from outside, without touching the caller's terminal and pipes."""

from __future__ import annotations

import os
import select
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from balsam.core.start import command as start_command
from balsam.runtime import logs
from balsam.runtime.site_folder import SiteFolder
from balsam.site import pid_file
from balsam.site.pid_file import AGENT_MODULE

READY_SEC = 90.0  # longer than it takes to see that an agent on another host is dead
STOP_SEC = 10.0
KILL_SEC = 2.0


@dataclass(frozen=True)
class StartReport:
    """What came of a start; `sentence` says it to a person, with the log's last lines where it failed."""

    started: bool
    sentence: str
    log_path: Path | None = None
    pid: int | None = None


@dataclass(frozen=True)
class StopReport:
    """What came of a stop."""

    stopped: bool
    sentence: str


@dataclass(frozen=True)
class AgentStatus:
    """Whether an agent works at a site, and where."""

    running: bool
    sentence: str
    host: str | None = None
    pid: int | None = None


def agent_status(site: SiteFolder) -> AgentStatus:
    """What the pid file says, checked against the process where that can be seen."""
    holder = pid_file.holder_alive(site)
    if holder is None:
        return AgentStatus(False, f"no agent works at {site.path}")
    where = f"on {holder.host}, process {holder.pid}"
    return AgentStatus(True, f"the agent of {site.path} works {where}", holder.host, holder.pid)


def agent_command(site: SiteFolder, *options: str) -> list[str]:
    """The command line of the agent."""
    return [*start_command(AGENT_MODULE), str(site.path), *options]


def start_agent(site: SiteFolder, timeout: float = READY_SEC) -> StartReport:
    """Starts the agent in the background and waits until it says that it works, or why it can't."""
    holder = pid_file.holder_here(site)
    if holder is not None:
        return StartReport(False, pid_file.sentence(holder, site))
    site.log_path.mkdir(exist_ok=True)
    log_path = logs.new_log_path(site.log_path, "service")
    reader, writer = os.pipe()
    try:
        process = _spawn(site, log_path, writer)
    finally:
        os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = _read_all(pipe.fileno(), timeout)
    return _report(process, said, log_path)


def _spawn(site: SiteFolder, log_path: Path, writer: int) -> subprocess.Popen[bytes]:
    options = ["--log-file", str(log_path), "--ready-fd", str(writer)]
    with log_path.open("ab") as output:
        return subprocess.Popen(
            agent_command(site, *options),
            cwd=site.path,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=(writer,),
        )


def _read_all(fd: int, timeout: float) -> str | None:
    """What the agent says before it closes its end; None after `timeout` seconds of silence."""
    said = b""
    while select.select([fd], [], [], timeout)[0]:
        piece = os.read(fd, 4096)
        if not piece:
            return said.decode("utf-8", "replace")
        said += piece
    return None


def _report(process: subprocess.Popen[bytes], said: str | None, log_path: Path) -> StartReport:
    if said is None:
        process.returncode = 0  # it goes on without us; nobody waits for it
        return StartReport(True, f"the agent starts slowly; follow it in {log_path}", log_path, process.pid)
    word, _, sentence = said.partition(" ")
    if word == "ready":
        process.returncode = 0
        return StartReport(True, sentence.strip(), log_path, process.pid)
    process.wait()
    tail = logs.last_lines(log_path, 15)
    why = sentence.strip() or f"it ended with exit code {process.returncode}; its log ends:\n{tail}"
    return StartReport(False, f"the agent did not start: {why}", log_path)


def stop_agent(site: SiteFolder, timeout: float = STOP_SEC) -> StopReport:
    """Ends the agent and waits for it; allocations go on without it."""
    holder = pid_file.holder_alive(site)
    if holder is None:
        site.pid_path.unlink(missing_ok=True)
        return StopReport(True, f"no agent works at {site.path}")
    if not holder.is_of_this_machine:
        return StopReport(False, f"the agent works on host {holder.host}: run `balsam site stop` there")
    try:
        agent = psutil.Process(holder.pid)
        agent.terminate()
        gone = _gone(agent, timeout)
        if not gone:
            agent.kill()
            _gone(agent, KILL_SEC)
    except psutil.NoSuchProcess:
        gone = True
    if gone:
        return StopReport(True, f"the agent of {site.path} has stopped")
    site.pid_path.unlink(missing_ok=True)
    return StopReport(True, f"the agent of {site.path} did not stop within {timeout:g} s and was killed")


def _gone(agent: psutil.Process, timeout: float) -> bool:
    """Whether the process ended in time. A process that is ending has no command line any more, and lives."""
    deadline = time.monotonic() + timeout
    while agent.is_running() and agent.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
