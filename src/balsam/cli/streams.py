"""The command line's standard streams: closed ones, ones of another alphabet, ones that nobody reads."""

from __future__ import annotations

import contextlib
import io
import os
import sys


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
                stream.reconfigure(errors="replace")


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


def _lead_nowhere(number: int, name: str) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:  # the lowest free one is given, which it is if those below are open
        os.dup2(nowhere, number)
        os.close(nowhere)
    os.set_inheritable(number, True)
    stream = open(number, "w" if number else "r", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    setattr(sys, name, stream)
