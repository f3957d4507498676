"""Kills the process groups of an owner (a launcher or agent) that died or froze; see `GuardLink`.

Run as a file: `python -I -S guard.py LIMIT_SEC MARK`, with a pipe from the owner as standard input: lines
`+PGID` and `-PGID` as its groups come and go, `.` as a beat, `q` before a clean end. At the stream's end,
or after LIMIT_SEC without a line, it kills the groups that are left, and every process that has
BALSAM_GUARD=MARK in its environment, then ends.
"""
# ruff: noqa: PTH123, PTH208 - pathlib and contextlib would double the time to start

import os
import select
import signal
import sys
import time

GATHER_SEC = 0.05  # owners may start and end hundreds of groups a second: read them in bunches
TERM_SEC = 0.5  # between SIGTERM and SIGKILL
MARK_VARIABLE = "BALSAM_GUARD"
OUTLIVED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # what ends an owner and all around it
Groups = dict[int, str | None]  # process group -> start time of its leader, in the kernel's ticks


def watch(fd: int, limit_sec: float) -> Groups:
    """Follows the owner until it is gone or silent; the groups that it leaves. Closes `fd`."""
    groups: Groups = {}
    rest = b""
    while True:
        # A frozen owner that wakes up must find the pipe broken before its first group dies.
        ready, _, _ = select.select([fd], [], [], limit_sec)
        data = os.read(fd, 1 << 16) if ready else b""
        if not data:
            os.close(fd)
            return groups
        *lines, rest = (rest + data).split(b"\n")
        if b"q" in lines:
            os.close(fd)
            return {}
        note(lines, groups)
        time.sleep(GATHER_SEC)


def note(lines: list[bytes], groups: Groups) -> None:
    """Takes in what the owner said; a group that came and went within it is never looked at."""
    added: set[int] = set()
    for line in lines:
        if line.startswith(b"+"):
            added.add(int(line[1:]))
        elif line.startswith(b"-"):
            added.discard(int(line[1:]))
            groups.pop(int(line[1:]), None)
    groups.update({pgid: start_time(pgid) for pgid in added})


def start_time(pid: int) -> str | None:
    """When a process started: with the pid, it names a process for all time. None: there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return None


def kill(groups: Groups) -> None:
    """Ends each group, unless its number now belongs to somebody else.

    SIGTERM comes first: an MPI launcher takes its ranks on other nodes with it then, and some can't else.
    """
    if not groups:
        return
    send(groups, signal.SIGTERM, signal.SIGCONT)
    deadline = time.monotonic() + TERM_SEC
    while time.monotonic() < deadline and any(is_alive(pgid) for pgid in groups):
        time.sleep(0.02)
    send(groups, signal.SIGKILL)


def send(groups: Groups, *numbers: int) -> None:
    for pgid, started in groups.items():
        now = start_time(pgid)
        if now is None or now == started:
            try:
                for number in numbers:
                    os.killpg(pgid, number)
            except (ProcessLookupError, PermissionError):
                pass


def is_alive(pgid: int) -> bool:
    """Whether a process of the group is left."""
    try:
        os.killpg(pgid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill_marked(mark: str) -> int:
    """Kills what carries the mark in its environment; how many there were."""
    wanted = f"{MARK_VARIABLE}={mark}".encode()
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit() and wanted in _environment(name):
            try:
                os.kill(int(name), signal.SIGKILL)
                count += 1
            except (ProcessLookupError, PermissionError):
                pass
    return count


def _environment(pid: str) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def main() -> None:
    for number in OUTLIVED:
        signal.signal(number, signal.SIG_IGN)
    limit_sec, mark = float(sys.argv[1]), sys.argv[2]
    kill(watch(0, limit_sec))
    for _ in range(100):  # what forks while it is being killed is caught in the next round
        if kill_marked(mark) == 0:
            return
        time.sleep(0.02)


if __name__ == "__main__":
    main()
