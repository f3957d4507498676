"""Why many jobs do not progress: counts by reason, each with an example, from groups that SQL counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from balsam.core.failure_text import normal
from balsam.core.states import ACTIVE_BATCH_JOB_STATES, HOOK_OF_STATE, RUNNABLE_STATES, JobState
from balsam.logic import reasons
from balsam.logic.reasons import Ask, Holder, Tags
from balsam.logic.signature import failure
from balsam.logic.why import Facts, told
from balsam.store import batch_jobs, jobs, waits
from balsam.store.batch_jobs import BatchJobFilter
from balsam.store.jobs import JobFilter
from balsam.store.owner import Owner
from balsam.store.paging import Page

J = JobState
Row = dict[str, Any]
Key = tuple[str, int, str]  # code, site, what made it fail

VARIOUS = "various"
MAX_EVENTS_READ = 1_000  # of jobs that failed otherwise than by a run's error
UNREAD = "(older ones, of which the cause was not looked at: choose fewer jobs)"


class _Counts:
    """Jobs by code, site and cause, with the oldest of each."""

    def __init__(self) -> None:
        self.number: dict[Key, int] = defaultdict(int)
        self.oldest: dict[Key, int] = {}

    def add(self, code: str, site_id: int, number: int, job_id: int, cause: str = "") -> None:
        if number > 0:
            key = (code, site_id, cause)
            self.number[key] += number
            self.oldest[key] = min(job_id, self.oldest.get(key, job_id))


def why_counts(conn: Connection, owner: Owner, f: JobFilter) -> list[Row]:
    """How many of the chosen jobs wait for which reason at which site, most first; each with an example.

    Finished jobs are left out, and failed ones told apart by their cause. Where jobs differ in more ways than
    `waits.MAX_GROUPS`, the rest counts as `various`.
    """
    facts = Facts(conn, owner)
    counts = _Counts()
    tag_sets = _tag_sets(facts)
    groups = waits.groups(conn, owner, f, tag_sets)
    for group in groups:
        for code, number, job_id in _codes(facts, f, group, tag_sets):
            counts.add(code, group["site_id"], number, job_id)
    for one in waits.by_parents(conn, owner, f):
        counts.add(_PARENT_CODES[one.matter], one.site_id, one.count, one.job_id)
    _add_failed(facts, f, counts)
    found = _with_examples(facts, counts)
    if len(groups) == waits.MAX_GROUPS:
        found += _rest(facts, f, sum(counts.number.values()))
    return found


_PARENT_CODES = {
    "gone": "parent_gone",
    "lost": "ancestor_failed",
    "failed": "parent_failed",
    "unfinished": "parent_unfinished",
    "done": "parents_done",
}


def _tag_sets(facts: Facts) -> list[Tags]:
    """The sets of tags that any active launcher or BatchJob asks for."""
    f = BatchJobFilter(state=list(ACTIVE_BATCH_JOB_STATES))
    rows = batch_jobs.page(facts.conn, facts.owner, f, Page())
    places = [facts.place(site_id) for site_id in sorted({row["site_id"] for row in rows})]
    return sorted(set().union(*(place.tag_sets for place in places)), key=sorted)


def _codes(facts: Facts, f: JobFilter, group: Row, tag_sets: list[Tags]) -> Iterator[tuple[str, int, int]]:
    """(code, number, an example) of the parts of a group."""
    state = J(group["state"])
    whole = (group["count"], group["job_id"])
    if group["session_id"] is not None:
        yield from _held(facts, f, group, state)
    elif state is J.running:
        yield "running_unheld", *whole
    elif state is J.created:
        yield "forced", *whole
    elif state in RUNNABLE_STATES:
        has = {frozenset[tuple[str, str]]()} | {
            tags for number, tags in enumerate(tag_sets) if group[f"tags{number}"]
        }
        ask = Ask.of(group, has.__contains__)
        place = facts.place(group["site_id"])
        yield reasons.runnable(group["job_id"], ask, place, facts.now).code, *whole
    elif group["broken"]:
        yield "transfer_error", *whole
    elif not facts.agent(group["site_id"]).alive:
        yield "no_agent", *whole
    else:
        yield ("hook" if state in HOOK_OF_STATE else "transfer"), *whole


def _add_failed(facts: Facts, f: JobFilter, counts: _Counts) -> None:
    """By the signature of the last run; others by what their last event says, if they are looked at."""
    others: dict[tuple[int, bool], waits.Failed] = {}
    for one in waits.by_failure(facts.conn, facts.owner, f):
        if one.signature is None:
            others[one.site_id, one.retried] = one
        else:
            counts.add(_failed_code(one.retried), one.site_id, one.count, one.job_id, one.signature)
    if not others:
        return
    rest = {key: one.count for key, one in others.items()}
    for job_id, site_id, retried, data in waits.failed_without_error(
        facts.conn, facts.owner, f, MAX_EVENTS_READ
    ):
        counts.add(_failed_code(retried), site_id, 1, job_id, normal(failure(data)))
        rest[site_id, retried] -= 1
    for (site_id, retried), number in rest.items():
        counts.add(_failed_code(retried), site_id, number, others[site_id, retried].job_id, UNREAD)


def _failed_code(retried: bool) -> str:
    return "failed_after_retries" if retried else "failed"


def _held(facts: Facts, f: JobFilter, group: Row, state: JobState) -> Iterator[tuple[str, int, int]]:
    session = facts.session(group["session_id"])
    whole = (group["count"], group["job_id"])
    if group["killed"]:
        yield "killed", *whole
    elif session is None:
        yield "held", *whole
    elif facts.is_silent(session):
        yield "held_silent", *whole
    elif state is J.running:
        yield "running", *whole
    elif not facts.holder(session).is_agent or state not in HOOK_OF_STATE:
        yield "held", *whole
    else:
        yield from _in_hand(facts, f, group, facts.holder(session))


def _in_hand(facts: Facts, f: JobFilter, group: Row, agent: Holder) -> Iterator[tuple[str, int, int]]:
    """Of jobs that an agent has: those whose hooks run are few, and looked up."""
    busy = agent.hooks.keys()
    rows = jobs.by_ids(facts.conn, facts.owner, busy) if busy else []
    mine = [row["id"] for row in rows if _is_in(row, group)]
    running = sorted(waits.among_chosen(facts.conn, facts.owner, f, mine)) if mine else []
    if running:
        yield "hook_running", len(running), running[0]
    there = replace(f, session_id=[group["session_id"]], state=[J(group["state"])])
    first = jobs.page(facts.conn, facts.owner, there, Page(limit=len(running) + 1))
    example = next((row["id"] for row in first if row["id"] not in running), group["job_id"])
    code = "node_trouble" if agent.trouble else "hook_queued" if busy else "hook_next"
    yield code, group["count"] - len(running), example


def _is_in(row: Row, group: Row) -> bool:
    same = all(row[name] == group[name] for name in ("state", "session_id", "site_id"))
    return same and (row["killed_by"] is not None) == bool(group["killed"])


def _with_examples(facts: Facts, counts: _Counts) -> list[Row]:
    rows = {row["id"]: row for row in jobs.by_ids(facts.conn, facts.owner, set(counts.oldest.values()))}
    ordered = sorted(counts.number, key=lambda key: (-counts.number[key], key))
    return [
        {
            "code": key[0],
            "site_id": key[1],
            "cause": key[2] or None,
            "count": counts.number[key],
            "job_id": counts.oldest[key],
            "sentence": told(facts, rows[counts.oldest[key]])["sentence"],
        }
        for key in ordered
    ]


def _rest(facts: Facts, f: JobFilter, counted: int) -> list[Row]:
    by_state = jobs.count_by_state(facts.conn, facts.owner, f)
    left = sum(number for state, number in by_state.items() if state != J.job_finished) - counted
    sentence = (
        f"{left} more jobs differ from each other in too many ways to be counted here: choose fewer of them."
    )
    return [
        {"code": VARIOUS, "site_id": None, "cause": None, "count": left, "job_id": None, "sentence": sentence}
    ] * (left > 0)
