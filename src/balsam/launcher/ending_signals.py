"""The signals with which batch systems, terminals and hosts that shut down end processes, or warn them."""

from __future__ import annotations

import signal

# Slurm: SIGTERM; Grid Engine: SIGUSR1 and SIGUSR2 for who asked to be warned; LSF: SIGUSR2, SIGXCPU, SIGINT,
# SIGTERM; salloc and terminals: SIGHUP. Each is followed by SIGKILL.
WARNINGS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGXCPU,
)
_NUMBERS = (*WARNINGS, signal.SIGKILL)
_CODES = frozenset([-number for number in _NUMBERS] + [128 + number for number in _NUMBERS])


def heeded() -> list[signal.Signals]:
    """Those that this process is to obey: not SIGHUP where it was started to outlive its terminal."""
    return [
        number
        for number in WARNINGS
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    ]


def is_by_signal(returncode: int) -> bool:
    """Whether one of them ended a program, or a shell or MPI launcher around it that tells so."""
    return returncode in _CODES
