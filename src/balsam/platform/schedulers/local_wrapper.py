"""The program that runs one allocation of the local scheduler, and what it shares with the scheduler.

It is started by file name with `python -I -S`, so that it is up in a few milliseconds: it may import nothing
but the standard library. It detaches itself, claims its record, runs the script, ends it at the wall time or
on SIGTERM, kills what the script left behind and writes how it ended.

Files of allocation N in the record folder, each written once and whole by one writer:
    N.json        the submission
    N.start.json  the claim: who runs it, since when; only one claim can be made
    N.end.json    when and why it ended
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MARKER = "BALSAM_LOCAL_ALLOCATION"


def start_path(record: Path) -> Path:
    return record.with_suffix(".start.json")


def end_path(record: Path) -> Path:
    return record.with_suffix(".end.json")


def write_once(path: Path, content: dict[str, Any]) -> bool:
    """Makes the file with all of its content, unless it exists: False then. One caller only gets True."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def claim(record: Path, starts: bool = True) -> bool:
    """Whether this process is now the only one that may run (`starts`), or end, the allocation."""
    return write_once(
        start_path(record),
        {
            "pid": os.getpid(),
            "identity": identity(os.getpid()),
            "host": socket.gethostname(),
            "start_us": time.time_ns() // 1000 if starts else None,
        },
    )


def write_end(record: Path, cause: str, end_us: int | None = None) -> None:
    write_once(end_path(record), {"end_us": end_us or time.time_ns() // 1000, "cause": cause})


def boot_id() -> str:
    """Of this start of this machine's kernel; empty where the system tells none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def identity(pid: int) -> str | None:
    """Text that no other process on any host ever has; None if there is no such process, or a zombie.

    Boot id and start time in clock ticks: neither moves when somebody sets the clock.
    """
    try:
        boot = boot_id()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def marker_of(record: Path) -> str:
    """What marks the processes of a record that names no marker of its own."""
    return str(record.with_suffix(""))


def members(marker: str) -> list[int]:
    """Processes that inherited the allocation's marker, wherever they moved: own groups, own sessions."""
    line = f"{MARKER}={marker}".encode()
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if line in _environ(pid)]


def _environ(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # ended meanwhile, or somebody else's
        return []


def kill_members(marker: str, patience_sec: float = 2.0) -> int:
    """Kills the allocation's processes until none is left; how many were killed."""
    deadline = time.monotonic() + patience_sec
    killed: set[int] = set()
    while (pids := members(marker)) and time.monotonic() < deadline:
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        killed.update(pids)
        time.sleep(0.01)
    return len(killed)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


class Watch:
    """Wakes a waiting process when a child ends or SIGTERM comes."""

    def __init__(self) -> None:
        self.term = False
        self._wakeup, waker = socket.socketpair()
        self._waker = waker
        waker.setblocking(False)
        self._wakeup.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_term)
        for unheeded in (signal.SIGHUP, signal.SIGINT):
            # A handler, not SIG_IGN: the script would inherit that.
            signal.signal(unheeded, lambda *_: None)

    def _on_term(self, *_: object) -> None:
        self.term = True

    def sleep(self, seconds: float) -> None:
        """Until a signal comes, at most so long."""
        ready, _, _ = select.select(
            [self._wakeup], [], [], None if math.isinf(seconds) else max(0.0, seconds)
        )
        if ready:
            self._wakeup.recv(4096)


def run_script(record: dict[str, Any], marker: str, watch: Watch) -> str:
    """Runs the script to its end; the cause of the end."""
    with Path(record["output"]).open("ab") as output:
        script = subprocess.Popen(
            [record["script"]],
            cwd=record["workdir"],
            env={**os.environ, MARKER: marker},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    forced = await_end(script, watch, record["wall_time_sec"], record["grace_sec"])
    return forced or describe(script.returncode)


def await_end(
    script: subprocess.Popen[bytes], watch: Watch, wall_time_sec: float, grace_sec: float
) -> str | None:
    """Waits; at the wall time or on SIGTERM asks the script's group to end, and kills it after the grace."""
    cause = None
    deadline = time.monotonic() + wall_time_sec
    while script.poll() is None:
        overdue = time.monotonic() >= deadline
        if cause is None and (watch.term or overdue):
            cause = "deleted" if watch.term else "walltime"
            _signal_group(script.pid, signal.SIGTERM)
            deadline = time.monotonic() + grace_sec
        elif overdue:
            _signal_group(script.pid, signal.SIGKILL)
            deadline = math.inf
        watch.sleep(deadline - time.monotonic())
    return cause


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def describe(returncode: int) -> str:
    return f"killed by signal {-returncode}" if returncode < 0 else f"exit {returncode}"


def detach() -> bool:
    """Leaves the submitter's session and its list of children; False in the process that goes on."""
    if os.fork():
        return True
    os.setsid()
    return False


def main(path: str) -> int:
    record = Path(path)
    if detach():
        return 0
    submission = json.loads(record.read_text(encoding="utf-8"))
    marker = submission.get("marker") or marker_of(record)
    # The folder may be moved while the script runs: what is written stays in it.
    os.chdir(record.parent)
    record = Path(record.name)
    watch = Watch()
    if not claim(record):
        return 0
    try:
        cause = run_script(submission, marker, watch)
    except OSError as exc:
        cause = f"could not start {submission['script']}: {exc.strerror}"
    kill_members(marker)
    write_end(record, cause)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
