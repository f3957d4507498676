"""The pid file: which agent works in a site folder, told so that a file that was left over stops nobody.

It holds the host, the process id, what tells this process from all others, and the folder's identity. A file
of a process that has ended, of an earlier start of the machine, or that was copied along with the folder is
stale. Whether an agent on another host lives can't be seen in a file: its lease on the server tells.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from balsam.runtime.site_folder import SiteFolder, identity_of
from balsam.site.this_machine import is_of_this_start, process_of

AGENT_MODULE = "balsam.site.agent"
SILENT_SEC = 120.0  # an agent on another host renews its file far more often


class AgentRuns(Exception):
    """Another agent works in this folder."""


@dataclass(frozen=True)
class Holder:
    """Who wrote a pid file; `process` and `folder` are None in files of older agents."""

    host: str
    pid: int
    process: str | None = None
    folder: str | None = None

    @classmethod
    def me(cls, site: SiteFolder) -> Holder:
        """This process."""
        return cls(socket.gethostname(), os.getpid(), process_of(os.getpid()), identity_of(site.path))

    @property
    def is_of_this_machine(self) -> bool:
        same_start = self.process is not None and is_of_this_start(self.process)
        return same_start or self.host == socket.gethostname()

    @property
    def text(self) -> str:
        return f"{self.host}\n{self.pid}\n{self.process}\n{self.folder}\n"


def read(path: Path) -> Holder | None:
    """The content of a pid file; None if there is none, or none that can be read."""
    try:
        host, pid, *more = path.read_text().split()
        return Holder(host, int(pid), *more) if len(more) in (0, 2) else None
    except (FileNotFoundError, ValueError):
        return None


def holder_alive(site: SiteFolder) -> Holder | None:
    """The agent that works in this folder now; on another host, one that renewed the file of late."""
    holder = read(site.pid_path)
    if holder is None or _is_copied(holder, site):
        return None
    alive = _lives_here(holder, site) if holder.is_of_this_machine else _is_fresh(site)
    return holder if alive else None


def holder_here(site: SiteFolder) -> Holder | None:
    """The agent that works in this folder on this machine, if there is one."""
    holder = holder_alive(site)
    return holder if holder is not None and holder.is_of_this_machine else None


def _is_copied(holder: Holder, site: SiteFolder) -> bool:
    """Whether the file came here with a copy of another folder. Hosts number devices differently."""
    if holder.folder is None:
        return False
    here = identity_of(site.path)
    if holder.process is not None and is_of_this_start(holder.process):
        return holder.folder != here
    return holder.folder.rpartition(":")[2] != here.rpartition(":")[2]


def _lives_here(holder: Holder, site: SiteFolder) -> bool:
    if holder.process is not None:
        return process_of(holder.pid) == holder.process
    return is_agent(holder.pid, site.path)


def _is_fresh(site: SiteFolder) -> bool:
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
    """Writes the pid file of this process; raises AgentRuns if another agent lives on this machine."""
    path = site.pid_path
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(Holder.me(site).text)
        while not _link(draft, path):
            holder = holder_here(site)
            if holder is not None:
                raise AgentRuns(sentence(holder, site))
            _set_aside(path, read(path))
    finally:
        draft.unlink(missing_ok=True)


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
    """Tells other hosts that this agent lives; writes the file anew where it was removed or replaced."""
    holder = read(site.pid_path)
    if holder == Holder.me(site):
        with contextlib.suppress(FileNotFoundError):
            os.utime(site.pid_path)
    else:
        with contextlib.suppress(AgentRuns):  # whom the server lets work will tell
            take(site)


def release(site: SiteFolder) -> None:
    """Removes the pid file if it is this process's."""
    with contextlib.suppress(OSError):  # the folder was moved, perhaps, or can only be read
        if read(site.pid_path) == Holder.me(site):
            site.pid_path.unlink(missing_ok=True)


def sentence(holder: Holder, site: SiteFolder) -> str:
    return (
        f"an agent works at this site already: host {holder.host}, process {holder.pid}; "
        f"stop it with `balsam site stop`"
    )
