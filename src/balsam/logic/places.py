"""What the database knows now of sites, their agents and allocations: read once, when it is first needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection

from balsam.core.clock import now_us
from balsam.core.states import ACTIVE_BATCH_JOB_STATES, BatchJobState, JobMode
from balsam.logic.messages import who
from balsam.logic.reasons import Agent, Ask, Holder, Offer, Place, Unfit, clock_note, since, unfit
from balsam.logic.site_agents import second_agent, state_of
from balsam.logic.submission import Limits
from balsam.store import batch_jobs, messages, sessions, sites, users, waits
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
        self.clock = cache(self._clock)
        self.asks = cache(self._asks)
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
        nodes = self._nodes(site)
        in_hand = waits.in_hand(self.conn, self.owner, [one["id"] for one in launchers])
        offers = [offer for row in rows for offer in self._offers(row, launchers, nodes, in_hand)]
        return Place(self.agent(site_id), Limits.of(site, nodes), offers)

    def _nodes(self, site: Row) -> Sequence[Row]:
        """The kinds of nodes of a site, as its agent or else the newest launcher told."""
        takes = None if site["nodes"] else sessions.newest_takes(self.conn, self.owner, site["id"])
        return site["nodes"] or (takes or {}).get("nodes") or []

    def unfit(self, row: Row) -> Unfit | None:
        """The jobs that wait at the site of a BatchJob, and that it does not take or would not have taken."""
        asks = self.asks(row["site_id"])
        return unfit(asks, self.offers_of(row), len(asks) < waits.MAX_LOOKED_AT) if asks else None

    def offers_of(self, row: Row) -> list[Offer]:
        """What the launchers of a BatchJob take, or took before it ended; none of one that takes no more."""
        if row["state"] in ACTIVE_BATCH_JOB_STATES:
            offers = self.place(row["site_id"]).offers
            return [one for one in offers if one.batch_job_id == row["id"] and one.ending is None]
        launchers = sessions.launchers_of(self.conn, self.owner, row["id"])
        # As it was at its start: whatever is short enough for all of it, it would have taken.
        return self._offers(
            {**row, "start_time": None}, launchers, self._nodes(self.site(row["site_id"])), {}
        )

    def _asks(self, site_id: int) -> list[tuple[int, Ask]]:
        """What the jobs that wait for nodes at a site ask for, as far as they are looked at."""
        rows = waits.for_nodes(self.conn, self.owner, site_id)
        return [(row["id"], Ask.of(row)) for row in rows]

    def notes(self, site_id: int) -> list[str]:
        """What else is wrong at a site: a clock, a second agent, what its agent complains of."""
        found = (self.clock(site_id), self._second_agent(site_id), self._trouble(site_id))
        return [note for note in found if note]

    def _trouble(self, site_id: int) -> str:
        site = self.site(site_id)
        record = site["agent"] or {}
        told = record.get("trouble")
        works = told and state_of(record, self.now) == "works"
        return f"the agent of site {site['name']} can't work with its batch system: {told}" if works else ""

    def _second_agent(self, site_id: int) -> str:
        record = self.site(site_id)["agent"]
        return second_agent(record, self.now) if record else ""

    def _clock(self, site_id: int) -> str:
        """That a clock at the site is far from the server's; empty where none is."""
        site = self.site(site_id)
        record = site["agent"] or {}
        ahead = record.get("clock_ahead_us")
        if ahead and state_of(record, self.now) == "works":
            return clock_note(f"{record['host']}, where the agent of site {site['name']} works", ahead)
        heard_since = self.now - int(SILENT_SEC * 1e6)
        for session in sessions.wrong_clocks(self.conn, self.owner, site_id, heard_since):
            return clock_note(f"the host of {who(session)}", session["clock_ahead_us"])
        return ""

    def _offers(
        self,
        row: Row,
        launchers: Collection[Row],
        nodes: Sequence[Row],
        in_hand: Mapping[int, waits.InHand],
    ) -> list[Offer]:
        """One for each launcher that a BatchJob has or will have."""
        parts = row["partitions"] or [row]
        own = {one["partition"] or 0: one for one in launchers if one["batch_job_id"] == row["id"]}
        ending = self._ending(row)
        return [self._offer(row, part, own.get(n), nodes, ending, in_hand) for n, part in enumerate(parts)]

    def _offer(
        self,
        row: Row,
        part: Row,
        launcher: Row | None,
        nodes: Sequence[Row],
        ending: str | None,
        in_hand: Mapping[int, waits.InHand],
    ) -> Offer:
        held = None if launcher is None else in_hand.get(launcher["id"])
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
            in_hand=held,
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
            trouble=session["trouble"] or None,
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
