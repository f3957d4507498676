"""Delivers what launchers that are gone have left: before their allocations' ends are reported."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from balsam.client.errors import AuthError, ServerFault, ServerRefused
from balsam.client.transport import Client
from balsam.core.states import ENDED_BATCH_JOB_STATES
from balsam.runtime.delivery import GUARD_SEC, Delivery, refused_note
from balsam.runtime.spool import SpoolFolder, SpoolName
from balsam.site.services import OUTAGES, Bell, Outage, Stop, all_records

log = logging.getLogger(__name__)

LOOK_SEC = 1.0  # between looks at the folder
ASK_SEC = 30.0  # between questions to the server which BatchJobs have ended
PATIENCE_SEC = 5.0  # a launcher that outlives its allocation is given so long to end by itself


def over(wanted: Collection[int], records: Collection[Mapping[str, Any]]) -> set[int]:
    """Those of the BatchJobs that have ended or are deleted; `records`: what the server has of them."""
    return set(wanted) - {r["id"] for r in records if r["state"] not in ENDED_BATCH_JOB_STATES}


class SpoolService:
    """Takes a spool when its allocation has ended, or when its launcher is seen to be dead on this host."""

    name = "spools"

    def __init__(self, folder: SpoolFolder, client: Client, bell: Bell) -> None:
        self._folder = folder
        self._client = client
        self.bell = bell
        self.on_settled: Callable[[], None] = lambda: None  # called after each delivery
        self._ending: dict[int, float] = {}  # allocations that have ended, and since when that is known
        self._over: set[int] = set()  # ... and that the server knows of
        self._alive: set[SpoolName] = set()  # spools of ended allocations that can't be had
        self._given_up: set[SpoolName] = set()
        self._deliveries: dict[SpoolName, Delivery] = {}
        self._ready_at: dict[SpoolName, float] = {}
        self._next_question = 0.0
        self._outage = Outage()

    def settled(self, batch_job_id: int) -> bool:
        """Whether all is delivered that this ended allocation's launchers have left; from any thread.

        It is not asked in vain: what is not delivered now, will be.
        """
        left = [name for name in self._folder.names() if name.batch_job_id == batch_job_id]
        if not left:
            self._ending.pop(batch_job_id, None)
            return True
        since = self._ending.setdefault(batch_job_id, time.monotonic())
        self.bell.ring()
        if self._given_up.issuperset(left):
            return True
        return (self._alive | self._given_up).issuperset(left) and time.monotonic() - since > PATIENCE_SEC

    def run(self, stop: Stop) -> None:
        self._next_question = 0.0
        while not stop.is_set():
            pause = LOOK_SEC
            try:
                self._look()
                while self._deliver() and not stop.is_set():
                    pass
                self._outage.answered()
            except OUTAGES as exc:
                pause = self._outage.failed(exc)
            self.bell.wait(pause)

    def _look(self) -> None:
        names = self._folder.names()
        self._alive.intersection_update(names)
        self._ask({name.batch_job_id for name in names} - {None})
        for name in names:
            if name not in self._deliveries and name not in self._given_up:
                self._take(name)

    def _ask(self, batch_job_ids: Collection[int | None]) -> None:
        if batch_job_ids and time.monotonic() >= self._next_question:
            wanted = sorted(i for i in batch_job_ids if i is not None)
            self._over = over(wanted, all_records(self._client, "/batch-jobs/", {"id": wanted}))
            self._next_question = time.monotonic() + ASK_SEC

    def _take(self, name: SpoolName) -> None:
        has_ended = name.batch_job_id in self._ending or name.batch_job_id in self._over
        if not has_ended and not self._folder.is_of_this_host(name):
            return
        try:
            spool = self._folder.take(name, of_any_host=has_ended)
        except OSError as exc:
            log.error("the spool %s can't be read: %s", name.stem, exc.strerror)
            spool = None
        if spool is None:
            if has_ended:
                self._alive.add(name)
            return
        log.info("the launcher of session %d is gone: what it has to report is delivered", name.session_id)
        # The report of the allocation's end ends its sessions, with the reason.
        reported = name.batch_job_id in self._ending
        self._deliveries[name] = Delivery(spool, ends_session=not reported)
        self._ready_at[name] = time.monotonic() + GUARD_SEC

    def _deliver(self) -> bool:
        """One request for each spool; whether there are more.

        One that the server fails at holds up no other.
        """
        fault: ServerFault | None = None
        sent = False
        for name, delivery in list(self._deliveries.items()):
            if name.batch_job_id not in self._ending and time.monotonic() < self._ready_at[name]:
                continue
            try:
                done = delivery.step(self._client)
            except ServerFault as exc:
                fault = exc
                continue
            except AuthError:
                raise
            except ServerRefused as exc:
                log.error("the spool %s can't be delivered, and stays: %s", name.stem, exc)
                self._given_up.add(name)
                delivery.spool.leave()
                done = True
            sent = sent or not done
            if done:
                self._finish(name, delivery)
        if fault is not None and not sent:
            raise fault
        return sent

    def _finish(self, name: SpoolName, delivery: Delivery) -> None:
        if delivery.refused and name.batch_job_id is not None:
            note = refused_note(self._folder, name.batch_job_id)
            self._client.patch("/batch-jobs/", [{"id": name.batch_job_id, "notes": {"refused": note}}])
        del self._deliveries[name], self._ready_at[name]
        self.on_settled()
