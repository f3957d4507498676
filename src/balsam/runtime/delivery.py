"""Brings a spool's updates to the server, in order and each once, however often that is tried."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from balsam.client.errors import AuthError, NotFoundError, ServerRefused
from balsam.client.jobs import report_jobs
from balsam.client.transport import Client
from balsam.core.limits import MAX_ITEMS_PER_BULK_OP
from balsam.runtime.spool import Batch, Spool, SpoolFolder
from balsam.runtime.updates import Entry

log = logging.getLogger(__name__)

GUARD_SEC = 1.0  # within which the guard of a launcher that died has killed its runs


def send(client: Client, session_id: int, batch: Batch) -> list[tuple[Entry, str]]:
    """Those that the server refused. Raises a ClientError where there is no answer: send the same again."""
    return _send(client, session_id, batch.entries, f"spool-{session_id}-{batch.begin}-{batch.end}")


def _send(client: Client, session_id: int, entries: Sequence[Entry], key: str) -> list[tuple[Entry, str]]:
    try:
        refused = report_jobs(client, [entry.line for entry in entries], session_id, key)
    except AuthError:
        raise
    except ServerRefused as exc:
        if len(entries) == 1:
            return [(entries[0], exc.sentence)]
        # One item spoils the request: halves find it.
        middle = len(entries) // 2
        first = _send(client, session_id, entries[:middle], f"{key}a")
        return first + _send(client, session_id, entries[middle:], f"{key}b")
    return [(entries[place], reason) for place, reason in refused]


def tell_ending(client: Client, session_id: int, ending: Mapping[str, Any]) -> None:
    """Why a launcher ended. Raises a ClientError where there is no answer: send the same again."""
    try:
        client.put(f"/sessions/{session_id}/ending", ending)
    except AuthError:
        raise
    except ServerRefused as exc:  # a server of an older release
        log.warning("why session %d ended can't be told: %s", session_id, exc)


def tell_death(client: Client, session_id: int, job_id: int) -> None:
    """Which job a dead launcher was about to start. Raises a ClientError without an answer: send it again."""
    log.warning("the launcher of session %d died while it prepared or started job %d", session_id, job_id)
    try:
        client.post(f"/sessions/{session_id}/death", {"job_id": job_id}, key=f"death-{session_id}")
    except AuthError:
        raise
    except ServerRefused as exc:  # a server of an older release, or the job is deleted
        log.warning("how session %d ended can't be told: %s", session_id, exc)


class Delivery:
    """Of a spool that nobody writes to any more; `batch`: one that is under way already.

    After the last update its session is ended, unless `ends_session` is False.
    """

    def __init__(self, spool: Spool, batch: Batch | None = None, *, ends_session: bool = True) -> None:
        self.spool = spool
        self.refused = 0
        self._batch = batch
        self._ends_session = ends_session

    def step(self, client: Client) -> bool:
        """One request; whether everything is done. Raises a ClientError without an answer: call again."""
        session_id = self.spool.name.session_id
        self._batch = self._batch or self.spool.next_batch(MAX_ITEMS_PER_BULK_OP)
        if self._batch is not None:
            with contextlib.suppress(NotFoundError):  # it is over: the fence will say so
                client.put(f"/sessions/{session_id}", {})  # there may be more than the lease has time for
            refused = send(client, session_id, self._batch)
            self.refused += len(refused)
            log.info("%d updates of session %d are delivered", len(self._batch.entries), session_id)
            self.spool.keep_refused(refused)
            self.spool.acknowledge(self._batch)
            self._batch = None
            return False
        if self.spool.ending is not None:
            tell_ending(client, session_id, self.spool.ending)
        elif self.spool.left_at_job is not None:
            tell_death(client, session_id, self.spool.left_at_job)
        with contextlib.suppress(NotFoundError):  # it is over
            if self._ends_session:
                client.delete(f"/sessions/{session_id}")
        self.spool.close()
        return True


def refused_note(folder: SpoolFolder, batch_job_id: int | None) -> str | None:
    """What the user is told of the updates that were refused; None where there are none."""
    count = folder.count_refused(batch_job_id)
    if count == 0:
        return None
    label = "none" if batch_job_id is None else batch_job_id
    what = "1 report of a run was" if count == 1 else f"{count} reports of runs were"
    return f"{what} refused, since others had the jobs by then: see {folder.path}/{label}-*.refused"
