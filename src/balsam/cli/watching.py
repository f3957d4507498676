"""Showing something again whenever things change on the server, until Ctrl-C."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import click

from balsam.client.errors import ClientError
from balsam.client.stream import follow
from balsam.client.transport import Client
from balsam.sdk.context import default_client

log = logging.getLogger(__name__)

SAFETY_SEC = 30.0  # while the stream is silent or cut
HOME_AND_CLEAR = "\x1b[H\x1b[J"
# What may change a listing; beats and greetings do not.
CHANGES = frozenset({"changed", "events", "batch-jobs", "sites", "apps", "freed", "reset", "hello"})


class Changes:
    """Hears from the server's stream that something changed; a context manager."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._changed = threading.Event()
        self._urgent = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="balsam-changes", daemon=True)

    def __enter__(self) -> Changes:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all waiting. The thread sees it at the stream's next beat, and nobody waits for that."""
        self._stop.set()
        self.hint(urgent=True)

    def wait(self, timeout: float) -> bool:
        """Whether something changed within `timeout` seconds, or since the last call."""
        changed = self._changed.wait(timeout)
        self._changed.clear()
        self._urgent.clear()
        return changed

    def hint(self, *, urgent: bool = False) -> None:
        """As if something had changed; `urgent`: `wait_urgent` returns, too."""
        if urgent:
            self._urgent.set()
        self._changed.set()

    def wait_urgent(self, timeout: float) -> bool:
        """Whether there was an urgent hint within `timeout` seconds, or since the last call."""
        urgent = self._urgent.wait(timeout)
        self._urgent.clear()
        return urgent

    def _listen(self) -> None:
        try:
            for message in follow(self._client, "/stream", {"only_hints": True}, self._stop):
                if message.name in CHANGES:
                    self._changed.set()
        except Exception as exc:  # the top of a thread: without hints it is looked every SAFETY_SEC
            if not self._stop.is_set():
                log.warning("the stream is given up: %s", exc)


@dataclass(frozen=True)
class Shown:
    """What a command shows, and what it notes beside that on stderr."""

    text: str
    note: str = ""


def watch(every: float | None, look: Callable[[], Shown]) -> None:
    """Shows what `look` answers; with `every`, again after changes, at most so often (seconds), until Ctrl-C.

    On a terminal each showing takes the place of the one before; elsewhere only what differs is written,
    after an empty line. A server that does not answer for a while is said and waited for.
    """
    if every is None:
        shown = look()
        click.echo(shown.text)
        _note(shown)
        return
    try:
        with Changes(default_client()) as changes:
            last: Shown | None = None
            while True:
                shown = _attempt(look, is_first=last is None)
                if shown != last:
                    _replace(shown, is_first=last is None)
                    last = shown
                time.sleep(every)
                changes.wait(max(0.0, SAFETY_SEC - every))
    except KeyboardInterrupt:
        return


def _attempt(look: Callable[[], Shown], is_first: bool) -> Shown:
    try:
        return look()
    except ClientError as exc:
        if is_first:
            raise
        return Shown(f"{exc}; trying again")


def _replace(shown: Shown, is_first: bool) -> None:
    if sys.stdout.isatty():
        click.echo(HOME_AND_CLEAR, nl=False, color=True)
    elif not is_first:
        click.echo()
    click.echo(shown.text)
    _note(shown)
    sys.stdout.flush()


def _note(shown: Shown) -> None:
    if shown.note:
        click.echo(shown.note, err=True)
