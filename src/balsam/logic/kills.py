"""Killing jobs: at once where nobody holds them, else through whoever does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from balsam.core.limits import KILL_SEC
from balsam.core.states import DONE_STATES, JobState
from balsam.logic import advance, messages
from balsam.logic.moves import killed_data
from balsam.store import jobs, kills, sessions, users
from balsam.store.database import Tx
from balsam.store.owner import Owner

J = JobState


class Fate(StrEnum):
    """What becomes of a job that is killed."""

    killed = "killed"  # it has failed
    told = "told"  # its holder is told to end it
    noted = "noted"  # its holder can't be told: it fails when that lets go of it
    ended = "ended"  # it had ended before


def fate(state: JobState, holder_fenced: bool | None) -> Fate:
    """`holder_fenced`: None where no live session holds the job; False: one of the published client."""
    if state in DONE_STATES:
        return Fate.ended
    if holder_fenced is None:
        return Fate.killed
    return Fate.told if holder_fenced else Fate.noted


@dataclass(slots=True)
class Killed:
    """Rows of jobs by their fate, as they were before."""

    rows: dict[Fate, list[dict[str, Any]]] = field(default_factory=lambda: {one: [] for one in Fate})

    def ids(self, *fates: Fate) -> list[int]:
        return sorted(row["id"] for one in fates for row in self.rows[one])

    def counts(self) -> dict[str, int]:
        return {one.value: len(rows) for one, rows in self.rows.items()}


def kill(tx: Tx, owner: Owner, job_ids: Collection[int]) -> Killed:
    """Kills jobs, whatever their state; killing one again tells its holder again.

    Whoever holds a killed job: when it lets go of it, the job fails instead of waiting or running again.
    """
    rows = jobs.lock(tx.conn, owner, job_ids)
    holders = {row["session_id"] for row in rows} - {None}
    fenced = sessions.fenced_among(tx.conn, owner, holders) if holders else {}
    killed = Killed()
    for row in rows:
        killed.rows[fate(J(row["state"]), fenced.get(row["session_id"]))].append(row)
    by = _name(tx, owner)
    _fail(tx, owner, killed.rows[Fate.killed], by)
    noted = killed.ids(Fate.told, Fate.noted)
    if noted:
        kills.note(tx.conn, owner, noted, by)
    _tell(tx, owner, killed.rows[Fate.told], by)
    return killed


def _name(tx: Tx, owner: Owner) -> str:
    name = str(users.get(tx.conn, owner)["username"])
    return name if owner.site_id is None else f"{name} (with the token of site {owner.site_id})"


def _fail(tx: Tx, owner: Owner, rows: list[dict[str, Any]], by: str) -> None:
    running = [row["id"] for row in rows if row["state"] == J.running]  # forced to, and nobody runs them
    waiting = [row["id"] for row in rows if row["state"] != J.running]
    if running:
        advance.move(tx, owner, running, J.run_error, {"killed": True, "by": by})
    if waiting:
        advance.move(tx, owner, waiting, J.failed, killed_data(by))


def _tell(tx: Tx, owner: Owner, rows: list[dict[str, Any]], by: str) -> None:
    of_session: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        of_session[row["session_id"]].append(row)
    for session_id, held in sorted(of_session.items()):
        job_ids = [row["id"] for row in held]
        session = {"id": session_id, "site_id": held[0]["site_id"]}
        about = job_ids[0] if len(job_ids) == 1 else None
        messages.tell(tx, owner, session, "kill", {"job_ids": job_ids, "by": by}, KILL_SEC, about)


def sentence(killed: Killed, job_id: int) -> str:
    """What became of one job, for its user."""
    [(one, row)] = [(one, row) for one, rows in killed.rows.items() for row in rows if row["id"] == job_id]
    return _SENTENCES[one].format_map(_Words(row))


class _Words(dict[str, Any]):
    def __init__(self, row: Mapping[str, Any]) -> None:
        super().__init__(id=row["id"], state=row["state"], session=row["session_id"])


_SENTENCES = {
    Fate.killed: "Job {id} is killed.",
    Fate.told: "Session {session}, which holds job {id}, is told to end it.",
    Fate.noted: "Session {session} holds job {id} and can't be told, for it is of an older release: the job "
    "fails when it lets go of it.",
    Fate.ended: "Job {id} had ended before: it is {state}.",
}
