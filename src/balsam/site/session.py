"""The agent's lease on the jobs whose hooks it runs."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from balsam.client.errors import ClientError, NotFoundError
from balsam.client.transport import Client
from balsam.core.clock import ClockOffset, now_us, to_us
from balsam.core.digest import of_ids
from balsam.core.limits import LEASE_SEC
from balsam.core.states import HOOK_OF_STATE
from balsam.site.services import Stop

log = logging.getLogger(__name__)

MAX_BUSY = 1_000
RENEWALS_PER_LEASE = 3  # where the heartbeats do not come


class AgentSession:
    """A fenced session without nodes. One thread acquires and beats; any may release.

    `note`: a file that keeps the id, so that the successor of an agent that was killed ends the session
    instead of waiting for the lease to run out.
    """

    def __init__(self, client: Client, site_id: int, note: Path) -> None:
        self._client = client
        self._site_id = site_id
        self._note = note
        self._lock = threading.Lock()
        self._held: set[int] = set()
        self._asked: tuple[str, dict[str, Any]] | None = None
        self.clock = ClockOffset()
        self._lease_sec = LEASE_SEC
        self._confirmed = 0.0  # when the last renewal that was answered was asked for
        self.id: int | None = None
        self.opened = threading.Event()  # there has been a session
        self.acquired_as: int | None = None  # the session of the latest answer to `acquire`

    @property
    def held(self) -> set[int]:
        with self._lock:
            return set(self._held)

    def open(self) -> None:
        """Ends the session that a predecessor left, and begins one."""
        if (left := self._noted()) is not None:
            _end(self._client, left)
        asked = {"site_id": self._site_id, "fenced": True, "num_nodes": 0}
        sent, asked_at = now_us(), time.monotonic()
        session = self._client.post("/sessions/", asked)
        # Before any hook's end is stamped.
        self.clock.add(sent, to_us(datetime.fromisoformat(session["heartbeat"])), now_us())
        self._lease_sec, self._confirmed = session["lease_sec"], asked_at
        self.id = int(session["id"])
        self._asked = None
        with self._lock:
            self._held.clear()
        self.opened.set()
        log.info("session %d is open", self.id)
        try:
            self._note.write_text(str(self.id))
        except OSError as exc:  # a full disk, for example; hooks may need none of it
            log.warning(
                "can't note the session, whose jobs wait for its lease if this agent is killed: %s", exc
            )

    def _noted(self) -> int | None:
        try:
            return int(self._note.read_text())
        except (OSError, ValueError):  # there is none, or none that can be read for the moment
            return None

    def end(self, client: Client) -> None:
        """Frees all jobs, through a client that does not try for long. It may have ended already."""
        if self.id is not None:
            _end(client, self.id)
            self.id = None
            with contextlib.suppress(OSError):  # of a session that has ended it does no harm
                self._note.unlink(missing_ok=True)

    def acquire(self, most: int) -> list[dict[str, Any]]:
        """Up to `most` records of jobs that wait for a hook; NotFoundError if the session has ended.

        After a failure the next call repeats the same request under its key, whatever `most` is then: the
        server may have given jobs to an answer that was lost.
        """
        if self._asked is None:
            self._asked = (str(uuid.uuid4()), {"max_num_jobs": most, "states": sorted(HOOK_OF_STATE)})
        key, asked = self._asked
        jobs: list[dict[str, Any]] = self._client.post(f"/sessions/{self.id}", asked, key=key)
        self._asked = None
        with self._lock:
            self._held.update(job["id"] for job in jobs)
        self.acquired_as = self.id
        return jobs

    def release(self, job_ids: Collection[int]) -> None:
        """Notes that the server has released these jobs, as it does with every report of a hook."""
        with self._lock:
            self._held.difference_update(job_ids)

    def is_over(self, session_id: int) -> bool:
        """Whether the server has ended this session, of which somebody may not know yet."""
        try:
            self._client.put(f"/sessions/{session_id}", {})
        except NotFoundError:
            return True
        return False

    def server_us(self) -> int:
        """Now, by the server's clock, as far as that is known."""
        return now_us() + self.clock.us

    def tick(self, busy: Mapping[int, int], trouble: str = "") -> set[int]:
        """A heartbeat; the jobs that are no longer this session's. NotFoundError if it has ended.

        `busy`: the jobs whose hooks run, and since when (microseconds of this clock). `trouble`: what keeps
        hooks from beginning for the moment.
        """
        offset_us = self.clock.us
        told = [
            {"job_id": job_id, "since_us": us + offset_us} for job_id, us in sorted(busy.items())[:MAX_BUSY]
        ]
        body: dict[str, Any] = {
            "digest": of_ids(self.held),
            "busy": told,
            "trouble": trouble,
            "clock_ahead_us": self.clock.telling_us,
        }
        sent, asked_at = now_us(), time.monotonic()
        answer = self._client.put(f"/sessions/{self.id}", body)
        self._confirmed = asked_at
        if answer is not None:
            self.clock.add(sent, answer["server_time_us"], now_us())
        if answer is None or answer["in_step"]:
            return set()
        named = self.held
        answer = self._client.put(f"/sessions/{self.id}", {"job_ids": sorted(named)})
        lost = named - set(answer["job_ids"])
        self.release(lost)
        return lost

    @property
    def renewal_sec(self) -> float:
        """How long a lease may go without a heartbeat before it is renewed without one."""
        return self._lease_sec / RENEWALS_PER_LEASE

    def keep(self) -> None:
        """Renews the lease if the heartbeats do not come; it touches no file, and says nothing to a log."""
        session_id, asked_at = self.id, time.monotonic()
        if session_id is None or asked_at - self._confirmed < self.renewal_sec:
            return
        with contextlib.suppress(ClientError):  # whoever beats hears of it
            self._client.put(f"/sessions/{session_id}", {})
            self._confirmed = asked_at


class LeaseService:
    """Keeps the lease while the service that beats is held up, as by a filesystem that stalls."""

    name = "lease"

    def __init__(self, session: AgentSession) -> None:
        self._session = session

    def run(self, stop: Stop) -> None:
        while not stop.is_set():
            self._session.keep()
            stop.event.wait(self._session.renewal_sec / 4)


def _end(client: Client, session_id: int) -> None:
    with contextlib.suppress(NotFoundError):
        client.delete(f"/sessions/{session_id}")
