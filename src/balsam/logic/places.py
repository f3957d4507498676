"""What the database knows now of sites, their agents and allocations: read once, when it is first needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection

from balsam.core.clock import now_us
from balsam.core.states import ACTIVE_BATCH_JOB_STATES, BatchJobState, JobMode
from balsam.logic.messages import who
from balsam.logic.reasons import Agent, Holder, Offer, Place, since
from balsam.logic.site_agents import state_of
from balsam.logic.submission import Limits
from balsam.store import batch_jobs, messages, sessions, sites, users
from balsam.store.batch_jobs import BatchJobFilter
from balsam.store.owner import Owner
from balsam.store.paging import Page

Row = dict[str, Any]

# An agent tells of its site every minute, also where it runs no hooks and so has no session.
AGENT_FRESH_SEC = 90
AGENT_TELLS_SEC = 60
SILENT_SEC = 45  # sessions beat every quarter of a minute


class Places:
    """The sites of one owner as reasons rest on them."""

    def __init__(self, conn: Connection, owner: Owner) -> None:
        self.conn = conn
        self.owner = owner
        self.now = now_us()
        self.site = cache(lambda site_id: sites.get(conn, owner, site_id) or {})
        self.agent = cache(self._agent)
        self.place = cache(self._place)
        self.session = cache(lambda session_id: sessions.get(conn, owner, session_id))
        self._tokens = cache(lambda: users.site_tokens(conn, owner))

    def _agent(self, site_id: int) -> Agent:
        site = self.site(site_id)
        alive, heard = sessions.agent_seen(self.conn, self.owner, site_id)
        told = site["agent_seen"]
        if site["agent"] is None:
            alive = alive or self._works_without_session(told, heard)
        else:
            alive = state_of(site["agent"], self.now) == "works"
        return Agent(
            site=site["name"],
            path=site["path"],
            alive=alive,
            last=max((moment for moment in (heard, told) if moment is not None), default=None),
            revoked=self._revoked(site_id),
        )

    def _works_without_session(self, told: int | None, heard: int | None) -> bool:
        """`told`: when an agent last told of its site; `heard`: when one with a session was last heard of."""
        if told is None or self.now - told > AGENT_FRESH_SEC * 1e6:
            return False
        # Else it may be the word of one that has gone with its session.
        return heard is None or told - heard > AGENT_TELLS_SEC * 1e6

    def _revoked(self, site_id: int) -> int | None:
        """When the last token of a site was revoked, where none is valid."""
        moments = [token["revoked"] for token in self._tokens() if token["site_id"] == site_id]
        return max(moments, default=None) if None not in moments else None

    def _place(self, site_id: int) -> Place:
        site = self.site(site_id)
        rows = batch_jobs.page(
            self.conn,
            self.owner,
            BatchJobFilter(site_id=[site_id], state=list(ACTIVE_BATCH_JOB_STATES)),
            Page(),
        )
        launchers = sessions.of_batch_jobs(self.conn, self.owner, [row["id"] for row in rows])
        takes = None if site["nodes"] else sessions.newest_takes(self.conn, self.owner, site_id)
        nodes: Sequence[Row] = site["nodes"] or (takes or {}).get("nodes") or []
        offers = [offer for row in rows for offer in self._offers(row, launchers, nodes)]
        return Place(self.agent(site_id), Limits.of(site, nodes), offers)

    def _offers(self, row: Row, launchers: Collection[Row], nodes: Sequence[Row]) -> list[Offer]:
        """One for each launcher that a BatchJob has or will have."""
        parts = row["partitions"] or [row]
        own = {one["partition"] or 0: one for one in launchers if one["batch_job_id"] == row["id"]}
        ending = self._ending(row)
        return [self._offer(row, part, own.get(n), nodes, ending) for n, part in enumerate(parts)]

    def _offer(
        self, row: Row, part: Row, launcher: Row | None, nodes: Sequence[Row], ending: str | None
    ) -> Offer:
        told = (launcher or {}).get("takes") or {}
        kinds = told.get("nodes") or nodes
        tags = told["filter_tags"] if "filter_tags" in told else part["filter_tags"]
        return Offer(
            batch_job_id=row["id"],
            state=BatchJobState(row["state"]),
            mode=JobMode(part["job_mode"]),
            num_nodes=(launcher or {}).get("num_nodes") or part["num_nodes"],
            tags=frozenset(tags.items()),
            gpus=max((kind["gpus"] for kind in kinds), default=None),
            mem_mb=max((kind["mem_mb"] for kind in kinds), default=None),
            minutes_left=minutes_left(row, self.now),
            ending=ending,
            launcher=None if launcher is None or self.is_silent(launcher) else who(launcher),
            at=in_state_since(row),
            trouble=(launcher or {}).get("trouble") or None,
        )

    def _ending(self, row: Row) -> str | None:
        if row["state"] == BatchJobState.pending_deletion:
            return "it is being ended, as you asked"
        runs = row["state"] == BatchJobState.running
        if runs and messages.is_drained(self.conn, self.owner, row["id"]):
            return "it is being drained and starts nothing more"
        return None

    def is_silent(self, session: Mapping[str, Any]) -> bool:
        """Whether a session has missed heartbeats."""
        return bool(self.now - session["heartbeat"] > SILENT_SEC * 1e6)

    def holder(self, session: Mapping[str, Any]) -> Holder:
        return Holder(
            who=who(dict(session)),
            is_agent=session["num_nodes"] == 0,
            last=session["heartbeat"],
            hooks={hook["job_id"]: hook["since_us"] for hook in session["busy"] or ()},
        )

    def heard(self, session: Mapping[str, Any]) -> str:
        """When a session was last heard of."""
        return f"was last heard of at {since(session['heartbeat'], self.now)}"


def minutes_left(batch_job: Mapping[str, Any], now: int) -> float:
    """Of a BatchJob's wall time, all of which is left before it starts."""
    used = 0 if batch_job["start_time"] is None else (now - batch_job["start_time"]) / 60e6
    return float(batch_job["wall_time_min"] - used)


def in_state_since(batch_job: Mapping[str, Any]) -> int | None:
    """When a BatchJob entered its state, as far as that is known."""
    if batch_job["state"] == BatchJobState.running:
        started: int | None = batch_job["start_time"]
        return started
    return int(batch_job["created"])
