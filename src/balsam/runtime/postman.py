"""The thread that reads outputs for users and sends a session's answers to messages.

Its requests and files may be slow: leases are kept and runs are killed elsewhere.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balsam.client.errors import AuthError, ClientError, NotFoundError
from balsam.client.transport import Client
from balsam.runtime.job_output import Piece, Unreadable, Wanted, read_piece

log = logging.getLogger(__name__)

LOOK_SEC = 0.1  # how often the outputs that somebody follows are looked at
ENDED_HOLD_SEC = 0.5  # whoever follows what does not run here asks again no sooner


@dataclass(frozen=True, slots=True)
class Tail:
    """Somebody wants a piece of an output; until `hold_until` an empty one waits for more."""

    session_id: int
    message_id: int
    job_id: int
    wanted: Wanted
    hold_until: float


@dataclass(frozen=True, slots=True)
class _Answer:
    session_id: int
    message_id: int
    content: Mapping[str, Any]


def tail_of(session_id: int, message: Mapping[str, Any], now: float, *, runs_here: bool) -> Tail:
    """A message of kind `tail` as what is to be done."""
    body = message["body"]
    hold_sec = float(body["hold_sec"])
    return Tail(
        session_id,
        message["id"],
        message["job_id"],
        Wanted(
            body["workdir"],
            body["lines"],
            body["after"],
            body["final"],
            message["job_id"],
            body.get("attempt"),
            body.get("may_come", False),
        ),
        now + (hold_sec if runs_here else min(hold_sec, ENDED_HOLD_SEC)),
    )


class Postman:
    """Start it once; the other methods may be called from any thread."""

    def __init__(self, make_client: Callable[[], Client], data_path: Path) -> None:
        self._make_client = make_client
        self._data_path = data_path
        self._tasks: queue.SimpleQueue[Tail | _Answer | int] = queue.SimpleQueue()
        self._held: dict[int, Tail] = {}
        self._client: Client | None = None
        self._thread = threading.Thread(target=self._run, name="postman", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def answer(self, session_id: int, message_id: int, content: Mapping[str, Any]) -> None:
        self._tasks.put(_Answer(session_id, message_id, content))

    def tail(self, tail: Tail) -> None:
        self._tasks.put(tail)

    def ended(self, job_id: int) -> None:
        """Nothing more will be written: whoever follows this job's output need not wait."""
        if self._held:
            self._tasks.put(job_id)

    def _run(self) -> None:
        while True:
            try:
                self._step()
            except Exception:  # the top of the thread: one bad message must not cost the others theirs
                log.exception("a message could not be answered")

    def _step(self) -> None:
        with contextlib.suppress(queue.Empty):
            self._take(self._tasks.get(timeout=LOOK_SEC if self._held else None))
        for tail in list(self._held.values()):
            self._look(tail)

    def _take(self, task: Tail | _Answer | int) -> None:
        if isinstance(task, _Answer):
            self._send(task.session_id, task.message_id, task.content)
        elif isinstance(task, Tail):
            self._held[task.message_id] = task  # one that came again after a cut is answered once
        else:
            for tail in [one for one in self._held.values() if one.job_id == task]:
                self._look(tail, is_over=True)

    def _look(self, tail: Tail, *, is_over: bool = False) -> None:
        """Answers unless there is nothing new and time to wait for it."""
        # Taken out first: one that can't be read for a reason unforeseen is not tried again and again.
        del self._held[tail.message_id]
        try:
            piece = read_piece(self._data_path, tail.wanted)
        except (Unreadable, OSError) as exc:
            self._send(tail.session_id, tail.message_id, {"error": str(exc)})
            return
        if piece.text or is_over or time.monotonic() >= tail.hold_until:
            self._send(tail.session_id, tail.message_id, _told(piece))
        else:
            self._held[tail.message_id] = tail

    def _send(self, session_id: int, message_id: int, content: Mapping[str, Any]) -> None:
        if self._client is None:
            self._client = self._make_client()
        try:
            self._client.put(f"/sessions/{session_id}/messages/{message_id}", {"answer": content})
        except NotFoundError:
            log.debug("nobody waits for the answer to message %d any more", message_id)
        except ClientError as exc:
            log.warning("the answer to message %d is lost: %s", message_id, exc)
            if isinstance(exc, AuthError):
                self._client = None  # the site's token may have been renewed


def _told(piece: Piece) -> dict[str, Any]:
    return {"text": piece.text, "offset": piece.offset, "size": piece.size, "path": piece.path}
