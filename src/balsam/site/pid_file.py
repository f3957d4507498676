"""One agent per site: the pid file says which, and a stale one is recognised."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from balsam.runtime.site_folder import SiteFolder

AGENT_MODULE = "balsam.site.agent"
SILENT_SEC = 600.0  # an agent on another host renews its file far more often


class AgentRuns(Exception):
    """Another agent works at this site."""


@dataclass(frozen=True)
class Holder:
    """Who wrote a pid file."""

    host: str
    pid: int


def read(path: Path) -> Holder | None:
    """The content of a pid file; None if there is none, or none that can be read."""
    try:
        host, pid = path.read_text().split()
        return Holder(host, int(pid))
    except (FileNotFoundError, ValueError):
        return None


def holder_alive(site: SiteFolder) -> Holder | None:
    """The agent that works at this site now, if there is one."""
    holder = read(site.pid_path)
    return holder if holder is not None and _lives(holder, site) else None


def _lives(holder: Holder, site: SiteFolder) -> bool:
    if holder.host == socket.gethostname():
        return is_agent(holder.pid, site.path)
    try:
        return time.time() - site.pid_path.stat().st_mtime < SILENT_SEC
    except FileNotFoundError:
        return False


def is_agent(pid: int, site_path: Path) -> bool:
    """Whether the process is the agent of this site, and not some other one that got its number."""
    try:
        process = psutil.Process(pid)
        words = process.cmdline()
        return AGENT_MODULE in words and str(site_path) in words and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def take(site: SiteFolder) -> None:
    """Writes the pid file of this process; raises AgentRuns if another agent lives."""
    path = site.pid_path
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(f"{socket.gethostname()}\n{os.getpid()}\n")
    try:
        while not _link(draft, path):
            holder = holder_alive(site)
            if holder is not None:
                raise AgentRuns(sentence(holder, site))
            _set_aside(path, read(path))
    finally:
        draft.unlink()


def _link(draft: Path, path: Path) -> bool:
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    return True


def _set_aside(path: Path, stale: Holder | None) -> None:
    """Removes a stale file; one that another agent put there meanwhile goes back."""
    aside = path.with_name(f".{path.name}.stale.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
        if read(aside) != stale:
            _link(aside, path)
        aside.unlink()


def renew(site: SiteFolder) -> None:
    """Tells other hosts that this agent lives."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(site.pid_path)


def release(site: SiteFolder) -> None:
    """Removes the pid file if it is this process's."""
    if read(site.pid_path) == Holder(socket.gethostname(), os.getpid()):
        site.pid_path.unlink(missing_ok=True)


def sentence(holder: Holder, site: SiteFolder) -> str:
    elsewhere = "" if holder.host == socket.gethostname() else f" (if not, remove {site.pid_path})"
    return (
        f"an agent works at this site already: host {holder.host}, process {holder.pid}{elsewhere}; "
        f"stop it with `balsam site stop`"
    )
