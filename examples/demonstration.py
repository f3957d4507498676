"""What every demonstration does around its campaign: a folder, signals, a sentence for what fails."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console

from balsam.api import BatchJob
from balsam.client.errors import ClientError
from balsam.client.login import load_login
from balsam.client.transport import Client
from balsam.core.states import ACTIVE_BATCH_JOB_STATES as ACTIVE
from balsam.core.states import BatchJobState
from balsam.sdk.context import use_client
from examples.stack import CommandFailed, Stack

OUTAGE_SEC = 1.0  # after so long without an answer the server counts as dead and is started again
POLL_SEC = 0.5
SETTLE_SEC = 30.0


class DemonstrationFailed(Exception):
    """It can't go on; the text says why and what to do."""


def demonstrate(stack: Stack, console: Console, campaign: Callable[[], None]) -> int:
    """Runs a campaign alone in the folder of its stack; stops what it started. The exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    _set_environment(stack)
    try:
        with _alone(stack.folder):
            campaign()
        return 0
    except KeyboardInterrupt:
        console.print("Interrupted: stopping what was started.")
        return 130
    except (ClientError, CommandFailed, DemonstrationFailed) as exc:
        console.print(f"The demonstration failed: {exc}", style="red", markup=False, soft_wrap=True)
        return 1
    finally:
        # A second Ctrl-C must not leave half of it running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stack.stop()


def log_in(stack: Stack) -> None:
    """From here on, this process's calls go to the server of the stack."""
    login = load_login(stack.login)
    assert login is not None, "the server has just written it"
    use_client(Client(login.api_root, login.token, retry_sec=OUTAGE_SEC))


def end_allocations(site_id: int) -> None:
    """Gives all nodes back and waits until the agent says so."""

    def active() -> list[BatchJob]:
        return list(BatchJob.objects.filter(site_id=site_id, state=ACTIVE))

    for one in active():
        one.state = BatchJobState.pending_deletion
        one.save()
    deadline = time.monotonic() + SETTLE_SEC
    while active() and time.monotonic() < deadline:
        time.sleep(POLL_SEC)


def look_further(stack: Stack, commands: Sequence[str]) -> list[str]:
    """Lines that say how to go on when everything has stopped."""
    return [
        "The server and the agent stop now; to look further:",
        f"  export PATH={Path(sys.executable).parent}:$PATH BALSAM_CLIENT_PATH={stack.login}",
        "  balsam server start",
        *(f"  {command}" for command in commands),
        "  balsam server stop",
    ]


def _set_environment(stack: Stack) -> None:
    """For Balsam and matplotlib in this process and those that it starts."""
    os.environ["BALSAM_CLIENT_PATH"] = str(stack.login)
    os.environ.setdefault("MPLCONFIGDIR", str(stack.folder / "matplotlib"))
    os.environ.pop("BALSAM_SITE_PATH", None)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise DemonstrationFailed(f"another demonstration works in {folder}: wait for its end") from exc
        yield


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
