"""Kills the process groups of an owner (a launcher or agent) that died or froze; see `GuardLink`.

Run as a file: `python -I -S guard.py MARK`, with a pipe from the owner as standard input: lines `+PGID` and
`-PGID` as its groups come and go, `@SECONDS` (of the boot clock) until when the owner may be silent, `q`
before a clean end. At the stream's end, or when that time has come, it kills the groups that are left, and
every process that has BALSAM_GUARD=MARK in its environment, then ends. Before it kills it writes one line,
`killing PGID ...`: those whose leaders are alive. Whoever ended before that ended by itself.
"""
# ruff: noqa: PTH123, PTH208, SIM105 - pathlib and contextlib would double the time to start

import os
import select
import signal
import sys
import time

GATHER_SEC = 0.05  # owners may start and end hundreds of groups a second: read them in bunches
TERM_SEC = 0.5  # between SIGTERM and SIGKILL
LOOK_SEC = 1.0  # how late a time is noticed that has passed while the whole host slept
MARK_VARIABLE = "BALSAM_GUARD"
KILLING = "killing"
OUTLIVED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # what ends an owner and all around it
Groups = dict[int, str | None]  # process group -> start time of its leader, in the kernel's ticks


def boot_clock() -> float:
    """Seconds since the host was started, those included in which it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def watch(fd: int) -> Groups:
    """Follows the owner until it is gone or silent for too long; the groups that it leaves. Closes `fd`."""
    groups: Groups = {}
    until = float("inf")
    rest = b""
    while True:
        left = min(until - boot_clock(), LOOK_SEC)
        if select.select([fd], [], [], max(0.0, left))[0]:
            data = os.read(fd, 1 << 16)
            if not data:
                os.close(fd)
                return groups
            *lines, rest = (rest + data).split(b"\n")
            if b"q" in lines:
                os.close(fd)
                return {}
            note(lines, groups)
            until = [until, *(float(line[1:]) for line in lines if line.startswith(b"@"))][-1]
            if boot_clock() < until:
                time.sleep(GATHER_SEC)
        if boot_clock() >= until:
            # A frozen owner that wakes up must find the pipe broken before its first group dies.
            os.close(fd)
            return groups


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
    fields = _status(pid)
    return fields[19] if fields else None


def _status(pid: int) -> list[str]:
    """The fields of a process from its state on; empty where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].decode().split()
    except OSError:
        return []
    return fields if len(fields) > 19 else []


def tell(groups: Groups) -> None:
    """Says whose leaders are alive. One that waits for its parent to hear of its end has ended by itself."""
    alive = [pgid for pgid in groups if _status(pgid)[:1] not in ([], ["Z"])]
    try:
        os.write(1, f"{' '.join([KILLING, *map(str, alive)])}\n".encode())
    except OSError:
        pass  # the owner is dead


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
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    mark = sys.argv[1]
    groups = watch(0)
    tell(groups)
    kill(groups)
    for _ in range(100):  # what forks while it is being killed is caught in the next round
        if kill_marked(mark) == 0:
            return
        time.sleep(0.02)


if __name__ == "__main__":
    main()
