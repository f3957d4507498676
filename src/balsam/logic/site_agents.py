"""One agent at a site: who holds it, and who may submit its BatchJobs.

A site's agent renews its lease of the site; a second one (in a copy of the folder, or on another host) is
told who works, and does not. Agents of release 0.7 claim nothing and are let alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from balsam.core.clock import from_us, now_us
from balsam.core.errors import NotFound, Refused
from balsam.core.states import BatchJobState
from balsam.schemas.agents import AgentClaim
from balsam.store import batch_jobs, sites
from balsam.store.database import Tx
from balsam.store.owner import Owner

Row = dict[str, Any]

LEASE_SEC = 45.0  # agents claim every 10 s
PLACE = ("instance", "host", "boot_id", "pid", "process", "folder", "path")
REFUSED_LATELY_SEC = 3_600.0  # for how long it is told that a second agent was refused
SILENCE_SEC = 60.0  # an agent that was not heard of for so long is not said to work


@dataclass(frozen=True)
class Decision:
    """What comes of a claim: `record` is what the site's row holds from now on."""

    granted: bool
    record: Row


def decide(record: Row | None, claim: AgentClaim, now: int, up_since: int) -> Decision:
    """A lease goes to whoever has it, or to anybody when it has ended; see `AgentClaim` for who may take it.

    `up_since`: before then nobody could renew it.
    """
    mine = {name: getattr(claim, name) for name in (*PLACE, "clock_ahead_us", "trouble")}
    if record is None or is_over(record, now, up_since) or claim.replaces == record["instance"]:
        return Decision(True, {**mine, "since": now, "seen": now, "ended": None, "refused": None})
    if record["instance"] == claim.instance:
        return Decision(True, {**record, **mine, "seen": now})
    refused = {"host": claim.host, "path": claim.path, "at": now}
    return Decision(False, {**record, "refused": refused})


def is_over(record: Mapping[str, Any], now: int, up_since: int) -> bool:
    """Whether the lease has ended, by the agent's word or by its silence."""
    return record["ended"] is not None or now - max(record["seen"], up_since) > LEASE_SEC * 1e6


def state_of(record: Mapping[str, Any], now: int) -> str:
    """`works`, `stopped` or `silent`, as users see it."""
    if record["ended"] is not None:
        return "stopped"
    return "works" if now - record["seen"] < SILENCE_SEC * 1e6 else "silent"


def second_agent(record: Mapping[str, Any], now: int) -> str:
    """That another agent wanted the site of late, and where it is to be found; empty where none did."""
    refused = record["refused"]
    if not refused or record["ended"] is not None or now - refused["at"] > REFUSED_LATELY_SEC * 1e6:
        return ""
    return (
        f"a second agent, on {refused['host']} in {refused['path']}, was not let in at "
        f"{from_us(refused['at']):%Y-%m-%d %H:%M:%S} UTC, since the one on {record['host']} in "
        f"{record['path']} works: a copy of a site's folder needs a site of its own (`balsam site init`)"
    )


def claim_site(tx: Tx, owner: Owner, site_id: int, claim: AgentClaim, up_since: int) -> Decision:
    """Gives, renews or refuses the lease of a site."""
    row = sites.lock(tx.conn, owner, site_id)
    if row is None:
        raise NotFound("Not found")
    now = now_us()
    before: Row | None = row["agent"]
    decision = decide(before, claim, now, up_since)
    values: Row = {"agent": decision.record}
    if decision.granted:
        values["agent_seen"] = now
    sites.change(tx.conn, owner, site_id, values)
    if before is None or _shown(before) != _shown(decision.record):
        tx.changed(owner.user_id, "sites", site_id)
    return decision


def _shown(record: Row) -> tuple[Any, ...]:
    refused = record["refused"] or {}
    clock = bool(record.get("clock_ahead_us"))
    return (
        *(record["instance"], record["ended"], clock, record.get("trouble")),
        *(refused.get("path"), refused.get("host")),
    )


def leave_site(tx: Tx, owner: Owner, site_id: int, instance: str) -> None:
    """Ends the lease of an agent that stops; that of another one stays."""
    row = sites.lock(tx.conn, owner, site_id)
    if row is None:
        raise NotFound("Not found")
    record: Row | None = row["agent"]
    if record is not None and record["instance"] == instance and record["ended"] is None:
        sites.change(tx.conn, owner, site_id, {"agent": {**record, "ended": now_us()}})
        tx.changed(owner.user_id, "sites", site_id)


def same_folder(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two agents work in one folder. Hosts number the devices of a shared filesystem differently."""
    if one["boot_id"] and one["boot_id"] == other["boot_id"]:
        return bool(one["folder"] == other["folder"])
    inodes = [place["folder"].rpartition(":")[2] for place in (one, other)]
    return inodes[0] == inodes[1] and bool(one["path"] == other["path"])


def claim_submission(tx: Tx, owner: Owner, batch_job_id: int, instance: str) -> None:
    """Lets this agent, and nobody else, hand a BatchJob to the batch system; raises Refused with the reason.

    What an agent in the same folder had claimed before it died, the next one there may submit: the batch
    system, or the folder's records, tell by the BatchJob's label whether it was. Elsewhere nobody could tell.
    """
    found = batch_jobs.lock(tx.conn, owner, [batch_job_id])
    if not found:
        raise NotFound("Not found")
    [row] = found
    site = sites.get(tx.conn, owner, row["site_id"]) or {}
    sentence = submission_refusal(row, site.get("agent"), instance)
    if sentence is not None:
        raise Refused(sentence)
    place = {name: site["agent"][name] for name in PLACE}
    batch_jobs.change(tx.conn, owner, batch_job_id, {"submitting_by": place})


def submission_refusal(batch_job: Row, agent: Row | None, instance: str) -> str | None:
    """Why an agent may not submit a BatchJob, as a sentence; `agent`: who holds the site."""
    name = f"BatchJob {batch_job['id']}"
    if batch_job["state"] != BatchJobState.pending_submission:
        return f"{name} is {batch_job['state']}: it is not to be submitted"
    if agent is None or agent["instance"] != instance or agent["ended"] is not None:
        holder = "nobody" if agent is None or agent["ended"] else f"{agent['host']}, in {agent['path']}"
        return f"{name} is submitted by the agent that holds its site: {holder}"
    before: Row | None = batch_job["submitting_by"]
    if before is None or before["instance"] == instance or same_folder(before, agent):
        return None
    return (
        f"{name} may have been submitted by an agent on {before['host']} in {before['path']}, which ended "
        f"before it could say so: start the agent there once, or end it (`balsam queue term --id "
        f"{batch_job['id']}`) and ask for another one"
    )
