"""What a run leaves in its process that would harm the runs after it."""

from __future__ import annotations

import _thread
import ctypes
import gc
import io
import os
import resource
import threading
from pathlib import Path

from balsam.schemas.user_code import is_installed

MEMORY_BYTES = 512 << 20  # grown beyond what the process had after its first run
FILES = 100
_PAGE = os.sysconf("SC_PAGE_SIZE")
_OF_PACKAGES = ("/dev/", "anon_inode:", "/memfd:", "/proc/", "/sys/")
_OF_USERS = ("/dev/shm/",)
_PR_SET_CHILD_SUBREAPER = 36


class Leftovers:
    """`find` after each run tells why the process should serve no other; "" as long as it may."""

    def __init__(self) -> None:
        self._memory: int | None = None
        self._free = _lowest_free()
        # What a run's own children leave behind comes to this process, where it is seen.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def find(self) -> str:
        if _has_children():
            return "processes"
        # The first counts what `_thread` has started too, the second what other libraries' threads call.
        if threads := max(_thread._count(), threading.active_count() - 1):
            return f"{threads} threads"
        return self._files() or self._memory_leak()

    def _files(self) -> str:
        """Files of packages, such as devices, may stay open; others are a run's."""
        if _lowest_free() <= self._free:
            return ""
        gc.collect()  # what is open in objects that refer to each other is closed by that
        if (free := _lowest_free()) <= self._free:
            return ""
        if free > FILES:
            return f"about {FILES} open files"
        for number in range(self._free, free):
            if not _is_of_a_package(number):
                return f"an open file, {_name_of(number)}"
        self._free = free
        return ""

    def _memory_leak(self) -> str:
        # The peak costs less to ask for. It may be an earlier run's, or that of the program that has started
        # this one: only where it is low does it tell that nothing has grown.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        if self._memory is not None and peak <= self._memory + MEMORY_BYTES:
            return ""
        memory = _resident_bytes()
        if self._memory is None:
            self._memory = memory  # what it has imported stays, and is no leak
        grown = memory - self._memory
        return f"{grown >> 20} MB of memory" if grown > MEMORY_BYTES else ""


def _has_children() -> bool:
    """Whether there are any that live; those that have ended are reaped."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _lowest_free() -> int:
    """The lowest number that no open file has; nobody has to count."""
    number = os.dup(0)
    os.close(number)
    return number


def _is_of_a_package(number: int) -> bool:
    name = _name_of(number)
    if name.startswith(_OF_USERS):
        return False
    return name.startswith(_OF_PACKAGES) or (name.startswith("/") and is_installed(name))


def _name_of(number: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115 - no path, as a rule
    except OSError:
        return "/proc/"  # closed by now


def write_out() -> None:
    """The process is about to be killed: what files hold back goes out, as at the end of a script."""
    for file in gc.get_objects():
        if isinstance(file, io.IOBase):
            try:
                if not file.closed and file.writable():
                    file.flush()
            except Exception:  # whatever a user's own kind of file does
                continue


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE
