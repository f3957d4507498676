"""Runs the commands of batch systems: built environment, limits of time and output, one at a time."""

from __future__ import annotations

import contextlib
import os
import random
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

TIME_LIMIT_SEC = 75.0  # Slurm's own commands try for 60 s where its configuration is out of reach
MOST_BYTES = 64 << 20  # of each stream
GAP_SEC = 0.25  # between the end of a command and the start of the next
NO_PROGRAM = 127  # as shells say it
_LINGER_SEC = 1.0  # for output after the end of a command whose children keep its pipes open
_PIECE = 1 << 16


@dataclass(frozen=True)
class Call:
    """A command of a batch system. `exports`: its environment becomes that of the user's script."""

    words: tuple[str, ...]
    stdin: Path | None = None
    exports: bool = False


@dataclass(frozen=True)
class Done:
    """How a command ended. `returncode` is None where it was ended from here; `stderr` then says why, last.

    Negative: the signal that killed it.
    """

    returncode: int | None
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0

    @property
    def sentence(self) -> str:
        """What went wrong, in the command's own words, in one line."""
        lines = [line.strip() for line in (self.stderr or self.stdout).splitlines()]
        told = " ".join(dict.fromkeys(filter(None, lines)))[-1_000:]
        return told or f"it ended with exit code {self.returncode} and said nothing"


@dataclass(frozen=True)
class Surroundings:
    """What the commands of a batch system find in their environment.

    `hidden`: beginnings of names that an allocation, or the user's habits, would bring in; `kept`: names
    among those that have to stay. `told`: what commands whose output is read get beside that.
    """

    hidden: tuple[str, ...]
    kept: frozenset[str] = frozenset()
    told: Mapping[str, str] | None = None


# Of the agent's own allocation, where it works in one.
_OWN = ("BALSAM_GUARD", "BALSAM_JOB_", "BALSAM_LAUNCHER_", "BALSAM_LOCAL_ALLOCATION")


def environment(environ: Mapping[str, str], around: Surroundings, exports: bool) -> dict[str, str]:
    """The environment of one command. Where it becomes that of a script, the user's language stays."""
    hidden = (*around.hidden, *_OWN)
    plain = {k: v for k, v in environ.items() if k in around.kept or not k.startswith(hidden)}
    return plain if exports else {**plain, "LC_ALL": "C", **(around.told or {})}


class CommandLine:
    """One batch system's commands, one after the other. `gap_sec`: the least pause between two."""

    def __init__(
        self,
        around: Surroundings,
        environ: Mapping[str, str],
        time_limit_sec: float = TIME_LIMIT_SEC,
        gap_sec: float = GAP_SEC,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._around = around
        self._environ = dict(environ)
        self._time_limit_sec = time_limit_sec
        self._gap_sec = gap_sec
        self._most_bytes = most_bytes
        self._one = threading.Lock()
        self._closed = threading.Event()
        self._not_before = 0.0
        self._running: subprocess.Popen[bytes] | None = None
        self.count = 0  # of all commands so far

    def run(self, call: Call) -> Done:
        """Runs it to its end, or to that of its time."""
        with self._one:
            self._closed.wait(max(0.0, self._not_before - time.monotonic()))
            if self._closed.is_set():
                return Done(None, stderr="the agent ends")
            self.count += 1
            done = self._run(call)
            self._not_before = time.monotonic() + self._gap_sec * (1 + random.random() / 2)
            return done

    def close(self) -> None:
        """Ends the command that runs; no other one is started."""
        self._closed.set()
        if (running := self._running) is not None:
            _kill_group(running)

    def _run(self, call: Call) -> Done:
        began = time.monotonic()
        try:
            with contextlib.ExitStack() as stack:
                given = stack.enter_context(call.stdin.open("rb")) if call.stdin else subprocess.DEVNULL
                process = subprocess.Popen(
                    call.words,
                    env=environment(self._environ, self._around, call.exports),
                    stdin=given,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    cwd="/",
                    start_new_session=True,
                )
        except FileNotFoundError as exc:
            missing = exc.filename if call.stdin and exc.filename == str(call.stdin) else call.words[0]
            return Done(NO_PROGRAM, stderr=f"there is no program {missing!r} on the PATH of the agent")
        except OSError as exc:
            return Done(NO_PROGRAM, stderr=f"{call.words[0]} can't be started: {exc.strerror}")
        self._running = process
        try:
            done = self._attend(process, call.words[0], began + self._time_limit_sec)
        finally:
            self._running = None
        return replace(done, seconds=time.monotonic() - began)

    def _attend(self, process: subprocess.Popen[bytes], name: str, deadline: float) -> Done:
        """Reads both streams until they end, the time is up or there is too much."""
        assert process.stdout and process.stderr
        texts = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
        verdict = ""
        with selectors.DefaultSelector() as selector, process.stdout, process.stderr:
            for stream in texts:
                selector.register(stream, selectors.EVENT_READ)
            while selector.get_map() and not verdict:
                if process.poll() is not None:
                    # Whoever still holds the pipes is no part of the command.
                    deadline = min(deadline, time.monotonic() + _LINGER_SEC)
                left = deadline - time.monotonic()
                if left <= 0:
                    verdict = f"{name} did not answer within {self._time_limit_sec:g} s"
                    break
                for key, _ in selector.select(min(left, 0.5)):
                    piece = os.read(key.fd, _PIECE)
                    texts[key.fd] += piece
                    if not piece:
                        selector.unregister(key.fd)
                    elif len(texts[key.fd]) > self._most_bytes:
                        verdict = f"{name} printed more than {self._most_bytes >> 20} MB"
            verdict = verdict if process.poll() is None else ""
            if not verdict:
                verdict = self._await_end(process, name, deadline)
            if verdict or self._closed.is_set():
                _kill_group(process)
                process.wait()
            out, err = (bytes(text).decode("utf-8", "replace") for text in texts.values())
        if verdict:
            return Done(None, out, f"{err.rstrip()}\n{verdict}".strip())
        return Done(None if self._closed.is_set() else process.returncode, out, err)

    def _await_end(self, process: subprocess.Popen[bytes], name: str, deadline: float) -> str:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return f"{name} did not answer within {self._time_limit_sec:g} s"
        return ""


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
