"""Children: started in a session of their own, and signalled with their whole process group."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

# What a node or its filesystems lack or fail at for the moment: no job is to blame that can't start for that.
NODE_SHORT = frozenset(
    {
        *(errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE),
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS),
        *(errno.EIO, errno.ESTALE, errno.EREMOTEIO, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN),
    }
)

THERE_SEC = 0.1  # in which a filesystem that has just shown a program is taken not to stall
# What Python ignores, and programs expect to die of.
_DEFAULTED = (signal.SIGPIPE, signal.SIGXFSZ)


class Spawner:
    """Starts programs, in about half of the time that `subprocess.Popen` takes.

    For one thread of a process whose other threads use no relative paths: the working directory is changed
    for the moment in which a program is started, and then back to `home`. Open files that it has inherited
    are kept from all of its children.
    """

    def __init__(self, home: str = "/") -> None:
        self._home = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._there = ""  # a program
        self._look_at = 0.0
        keep_own_files()

    def start(self, words: Sequence[str], workdir: str, environment: Mapping[str, str], output: int) -> int:
        """The pid of a program that leads a session of its own; raises OSError.

        It reads nothing and writes to the file descriptor `output`. A name without a slash is looked for on
        the PATH of `environment`.
        """
        program = words[0] if "/" in words[0] else shutil.which(words[0], path=environment.get("PATH"))
        if program is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        os.chdir(workdir)
        try:
            self._await(program)
            return os.posix_spawn(
                program,
                list(words),
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, self._null, 0),
                    (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, output, 2),
                ],
                setsid=True,
                setsigdef=_DEFAULTED,
            )
        finally:
            os.fchdir(self._home)

    def _await(self, program: str) -> None:
        """A program that was there a moment ago need not be waited for again, when many are started."""
        now = time.monotonic()
        if program != self._there or now >= self._look_at:
            await_program(program)
            self._there = program if program.startswith("/") else ""  # another one in another workdir
            self._look_at = now + THERE_SEC

    def close(self) -> None:
        os.close(self._home)
        os.close(self._null)


def await_program(path: str) -> None:
    """Comes back when the filesystem answers for a program, at once as a rule.

    From a start until the kernel has read the program, no thread of this process can run, those that beat for
    its lease included. Where a filesystem stalls, this waits in its place, and keeps the others from nothing.
    """
    head = _head(path)
    if head.startswith(b"#!") and (words := head[2:].split(b"\n")[0].split()):
        _head(os.fsdecode(words[0]))  # the script's interpreter is read, too


def _head(path: str) -> bytes:
    """Empty where it can't be read: what starts it says why."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return b""
    try:
        return os.read(fd, 256)
    except OSError:
        return b""
    finally:
        os.close(fd)


def hangs_in_a_file(pgid: int) -> bool:
    """Whether one of the group waits for a disk, or a filesystem that stalls, and can't be interrupted."""
    return any(_state(path) == ("D", str(pgid)) for path in Path("/proc").glob("[0-9]*/stat"))


def _state(stat: Path) -> tuple[str, str] | None:
    """A process's state and process group."""
    try:
        state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
    except (OSError, ValueError):
        return None
    return state, group


def keep_own_files() -> None:
    """What this process has open beside its standard streams, and may have inherited, goes to no child."""
    for number in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        with contextlib.suppress(OSError):  # the listing's own is closed by now
            if number > 2:
                os.set_inheritable(number, False)


def signal_group(pgid: int, number: signal.Signals) -> None:
    """To all of a group; a group that is gone is no error."""
    # EPERM: all of it are zombies, or it has just started and is not a group yet
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pgid, number)
