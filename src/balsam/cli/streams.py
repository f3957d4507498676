"""The command line's standard streams: closed ones, ones of another alphabet, ones that nobody reads."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator

OUTPUT = "standard output"
_NAMES = {"<stdout>": OUTPUT, "<stderr>": "standard error"}


def mend() -> None:
    """Makes the three standard streams usable: what can't be shown is replaced, what is closed leads nowhere.

    A number that is free would else be given to the next file that is opened, and be written to.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if not _is_open(number) or getattr(sys, name) is None:
            _lead_nowhere(number, name)
        elif number > 0:
            stream = getattr(sys, name)
            if isinstance(stream, io.TextIOWrapper):
                _take_the_place_of(stream, name)


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Errors of the system that name no file, such as that of a full device, name this one."""
    try:
        yield
    except OSError as exc:
        if exc.filename is None and exc.errno is not None:
            exc.filename = name
        raise


class _Output(io.TextIOWrapper):
    """What can't be shown is replaced, and what can't be written is told of by name."""

    def write(self, text: str, /) -> int:
        with named(_NAMES.get(self.name, OUTPUT)):
            return super().write(text)

    def flush(self) -> None:
        with named(_NAMES.get(self.name, OUTPUT)):
            super().flush()


def give_up_output() -> None:
    """Where nothing more can be written, nothing is: neither now, nor by the interpreter when it ends."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        try:
            getattr(sys, name).flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _take_the_place_of(stream: io.TextIOWrapper, name: str) -> None:
    encoding, by_line, at_once = stream.encoding, stream.line_buffering, stream.write_through
    taken = _Output(stream.detach(), encoding, "replace", line_buffering=by_line, write_through=at_once)
    setattr(sys, name, taken)
    setattr(sys, f"__{name}__", taken)  # the one that was there is of no use any more


def _lead_nowhere(number: int, name: str) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:  # the lowest free one is given, which it is if those below are open
        os.dup2(nowhere, number)
        os.close(nowhere)
    os.set_inheritable(number, True)
    stream = open(number, "w" if number else "r", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    setattr(sys, name, stream)
