"""What a rule sees of each of its subjects: a verdict and a sentence, from what the database knows now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from balsam.core.alerts import AlertKind
from balsam.logic.alerts import MINUTE_US, Symptom, Verdict
from balsam.logic.places import Places
from balsam.logic.reasons import counted, duration
from balsam.logic.why import why
from balsam.store import sites, symptoms
from balsam.store.owner import Owner
from balsam.store.paging import Page
from balsam.store.sites import SiteFilter
from balsam.store.symptoms import Ended

Row = dict[str, Any]
ALL_JOBS = 0  # the subject of a rule on jobs wherever they are
# A rate is well again when it is clearly below its threshold, and a launcher when it is clearly busier.
WELL_BELOW, WELL_ABOVE = 0.8, 1.25


@dataclass(frozen=True, slots=True)
class Look:
    """One look at one rule. `up_since`: before then nobody could have told the server anything."""

    conn: Connection
    rule: Row
    now: int
    up_since: int

    @property
    def owner(self) -> Owner:
        return Owner(self.rule["owner_id"])

    @property
    def length(self) -> int:
        """The rule's minutes, in microseconds."""
        return int(self.rule["minutes"] * MINUTE_US)

    def sites(self) -> list[Row]:
        return sites.page(self.conn, self.owner, SiteFilter(id=self.rule["site_ids"]), Page())

    def is_about(self, site_id: int) -> bool:
        return self.rule["site_ids"] is None or site_id in self.rule["site_ids"]


def look(conn: Connection, rule: Row, now: int, up_since: int) -> list[Symptom]:
    """One symptom for each subject that there is now."""
    return _KINDS[AlertKind(rule["kind"])](Look(conn, rule, now, up_since))


# ---- how many jobs fail ----


def _failure_rate(look: Look) -> list[Symptom]:
    rule = look.rule
    found = symptoms.ended(look.conn, look.owner, look.now - look.length, rule["site_ids"], rule["tags"])
    return [failure_rate(found, rule["threshold"], rule["min_jobs"], look.now)]


def failure_rate(found: Ended, threshold: float, min_jobs: int, now: int) -> Symptom:
    """Too few jobs tell nothing, and none at all that it is over."""
    total = found.failed + found.finished
    rate = found.failed / total if total else 0.0
    if total >= min_jobs and rate >= threshold:
        verdict = Verdict.BAD
    elif rate < threshold * WELL_BELOW:
        verdict = Verdict.WELL
    else:
        verdict = Verdict.BETWEEN
    within = duration(now - found.since)
    sentence = (
        f"{found.failed} of the {counted(total, 'job')} that ended within {within} failed ({rate:.0%})."
    )
    return Symptom(ALL_JOBS, verdict, sentence)


# ---- jobs that could run, and none starts ----


def _stalled_backlog(look: Look) -> list[Symptom]:
    starts = symptoms.newest_starts(look.conn, look.owner, look.now - look.length)
    return [_backlog(look, site, starts.get(site["id"])) for site in look.sites()]


def _backlog(look: Look, site: Row, started: int | None) -> Symptom:
    job = symptoms.waiting_job(look.conn, look.owner, site["id"])
    if job is None:
        return Symptom(site["id"], Verdict.WELL, f"No job waits for nodes at site {site['name']}.")
    since = started or 0
    sentence = f"Jobs wait for nodes at site {site['name']}"
    if look.now - max(since, look.up_since) < look.length:
        last = "" if started is None else f", and the last one started {duration(look.now - started)} ago"
        return Symptom(site["id"], Verdict.BAD, f"{sentence}{last}.", since, look.up_since)
    [reason] = why(look.conn, look.owner, [job])
    quiet = f"and none has started within {duration(look.length)}"
    return Symptom(
        site["id"], Verdict.BAD, f"{sentence}, {quiet}. {reason['sentence']}", since, look.up_since
    )


# ---- nodes that run nothing ----


def _idle_allocation(look: Look) -> list[Symptom]:
    had: dict[int, float] = defaultdict(float)
    busy: dict[int, float] = defaultdict(float)
    for one in symptoms.launchers(look.conn, look.owner):
        if look.is_about(one.site_id) and one.batch_job_id is not None:
            had[one.batch_job_id] += one.nodes
            busy[one.batch_job_id] += one.busy
    threshold = look.rule["threshold"]
    return [
        idle_allocation(number, nodes, busy[number], threshold, look.up_since)
        for number, nodes in had.items()
    ]


def idle_allocation(batch_job_id: int, nodes: float, busy: float, threshold: float, up_since: int) -> Symptom:
    fraction = busy / nodes
    if fraction < threshold:
        verdict = Verdict.BAD
    elif fraction >= min(1.0, threshold * WELL_ABOVE):
        verdict = Verdict.WELL
    else:
        verdict = Verdict.BETWEEN
    of_nodes = counted(round(nodes), "node")
    sentence = f"Runs keep {busy:.3g} of the {of_nodes} of BatchJob {batch_job_id} busy ({fraction:.0%})."
    return Symptom(batch_job_id, verdict, sentence, seen_since=up_since)


# ---- agents that are away ----


def _site_down(look: Look) -> list[Symptom]:
    places = Places(look.conn, look.owner)
    return [_agent(look, places, site) for site in look.sites()]


def _agent(look: Look, places: Places, site: Row) -> Symptom:
    agent = places.agent(site["id"])
    # One that has never been heard of is not set up yet, and nobody is alarmed.
    if agent.last is None or look.now - agent.last < look.length:
        return Symptom(site["id"], Verdict.WELL, f"The agent of site {site['name']} is heard of.")
    absence = agent.absence(look.now)
    # Nobody could be heard while the server was away.
    verdict = Verdict.BAD if look.now - look.up_since >= look.length else Verdict.BETWEEN
    return Symptom(site["id"], verdict, f"{absence[0].upper()}{absence[1:]}.")


_KINDS: dict[AlertKind, Callable[[Look], list[Symptom]]] = {
    AlertKind.failure_rate: _failure_rate,
    AlertKind.stalled_backlog: _stalled_backlog,
    AlertKind.idle_allocation: _idle_allocation,
    AlertKind.site_down: _site_down,
}
