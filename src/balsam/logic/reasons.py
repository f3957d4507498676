"""Reasons, as values: what a job asks for, what allocations offer, and the sentence on what does not go on.

No database here. Each sentence names its object, since when, and what to do; docs/why.md lists the codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from balsam.core.clock import from_us
from balsam.core.plural import counted as counted
from balsam.core.states import BatchJobState, JobMode, JobState
from balsam.logic.submission import Limits, too_big
from balsam.store.waits import InHand

Tags = frozenset[tuple[str, str]]
SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Why:
    """A code for programs, a sentence for people."""

    code: str
    sentence: str


def when(us: int) -> str:
    return f"{from_us(us):%Y-%m-%d %H:%M:%S} UTC"


def since(us: int, now: int) -> str:
    """A moment, and how long ago it was."""
    return f"{when(us)} ({duration(now - us)} ago)"


def duration(us: int) -> str:
    """In the largest unit of which there are two."""
    sec = max(0, us) // 1_000_000
    for name, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if sec >= 2 * length:
            return f"{sec // length} {name}"
    return f"{sec} s"


@dataclass(frozen=True, slots=True)
class Agent:
    """A site's agent. `last`: when it was heard of; `revoked`: when, where no token of the site is valid."""

    site: str
    path: str
    alive: bool
    last: int | None
    revoked: int | None = None

    def absence(self, now: int) -> str:
        """That it is away, since when, and how to start it."""
        heard = f"was last heard of at {since(self.last, now)}" if self.last else "has never been heard of"
        told = f"the agent of site {self.site} {heard}"
        if self.revoked is not None:
            return (
                f"{told}, and the site's token was revoked at {when(self.revoked)}: run `balsam site token "
                f"renew`, then `balsam site start`, in {self.path}"
            )
        return f"{told}: run `balsam site start` in {self.path}"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a job needs of an allocation; GPUs and MB are those of one node."""

    num_nodes: int
    ranks_per_node: int
    gpus: float
    mem_mb: int
    wall_time_min: int
    has_tags: Callable[[Tags], bool]

    @classmethod
    def of(cls, job: Mapping[str, Any], has_tags: Callable[[Tags], bool] | None = None) -> Ask:
        """`job`: a row with its resources, and its tags unless `has_tags` knows them."""
        ranks = job["ranks_per_node"]
        return cls(
            num_nodes=job["num_nodes"],
            ranks_per_node=ranks,
            gpus=ranks * job["gpus_per_rank"],
            mem_mb=ranks * job["mem_mb_per_rank"],
            wall_time_min=job["wall_time_min"],
            has_tags=has_tags or frozenset(job["tags"].items()).issuperset,
        )


@dataclass(frozen=True, slots=True)
class Offer:
    """What one launcher's share of an active BatchJob takes.

    `gpus` and `mem_mb` of its nodes are None where nobody has told. `ending`: why it takes nothing more.
    `launcher`: the live one in words, None where there is none. `at`: since when it is in its state.
    `trouble`: what keeps runs from starting there for the moment, as the launcher tells. `in_hand`: what the
    launcher holds, None for nothing.
    """

    batch_job_id: int
    state: BatchJobState
    mode: JobMode
    num_nodes: int
    tags: Tags
    gpus: int | None
    mem_mb: int | None
    minutes_left: float
    ending: str | None = None
    launcher: str | None = None
    at: int | None = None
    trouble: str | None = None
    in_hand: InHand | None = None


def in_words(launcher: str, held: InHand | None, now: int) -> str:
    """What keeps the places of a launcher, which is named at the beginning."""
    if held is None:
        return f"{launcher} has taken nothing and runs nothing at this moment"
    if held.job_id is None or held.since is None:
        return f"{launcher} has {counted(held.waiting, 'job')} in hand and runs none at this moment"
    longest = f"job {held.job_id}, which has been running since {since(held.since, now)}"
    what = longest if held.running == 1 else f"{held.running} jobs, the longest of them {longest}"
    more = f", and has {counted(held.waiting, 'other job')} in hand" if held.waiting else ""
    return f"{launcher} runs {what}{more}"


@dataclass(frozen=True, slots=True)
class Ended:
    """The BatchJob of a site that ended last: what its launchers took, and the sentence on its end."""

    offers: Sequence[Offer]
    sentence: str
    was_early: bool


@dataclass(frozen=True, slots=True)
class Place:
    """A site as a job that waits for nodes sees it. `ended`: known only where there are no offers."""

    agent: Agent
    limits: Limits
    offers: Sequence[Offer]
    ended: Ended | None = None

    @property
    def tag_sets(self) -> set[Tags]:
        return {offer.tags for offer in self.offers if offer.tags}


# From the one that hopeless jobs meet first to the one that only just keeps a job out.
NEARNESS = ("ending", "tags", "mode", "nodes", "gpus", "memory", "time")
REMEDIES = {
    "ending": "ask for another one with `balsam queue submit`",
    "tags": "tag the job so, or ask for a BatchJob without tags",
    "mode": "ask for one with `balsam queue submit -j mpi`",
    "nodes": "ask for a larger one",
    "gpus": "let the job ask for less, or ask for nodes that have as many",
    "memory": "let the job ask for less, or ask for nodes that have as much",
    "time": "ask for a longer one, or lower the job's wall_time_min",
}


def misfit(ask: Ask, offer: Offer) -> tuple[str, str] | None:
    """What keeps a job out of a launcher (a word of `NEARNESS`), and the sentence; None if nothing does."""
    if offer.ending is not None:
        return "ending", offer.ending
    if not ask.has_tags(offer.tags):
        wanted = ", ".join(f"{key}={value}" for key, value in sorted(offer.tags))
        return "tags", f"it takes only jobs with the tags {wanted}"
    if offer.mode is JobMode.serial and (ask.num_nodes > 1 or ask.ranks_per_node > 1):
        return "mode", "it runs single-process jobs (serial mode), and the job has several ranks or nodes"
    if ask.num_nodes > offer.num_nodes:
        return "nodes", f"the job needs {counted(ask.num_nodes, 'node')} and it has {offer.num_nodes}"
    if offer.gpus is not None and ask.gpus > offer.gpus + SLACK:
        return (
            "gpus",
            f"the job asks for {counted(ask.gpus, 'GPU')} per node, and its nodes have {offer.gpus}",
        )
    if offer.mem_mb is not None and ask.mem_mb > offer.mem_mb:
        return "memory", f"the job asks for {ask.mem_mb} MB per node, and its nodes have {offer.mem_mb}"
    if ask.wall_time_min > offer.minutes_left:
        left = max(0, int(offer.minutes_left))
        return "time", f"the job needs {ask.wall_time_min} min and {left} min are left"
    return None


def runnable(job_id: int, ask: Ask, place: Place, now: int) -> Why:
    """Why a job that is ready to run does not, while nobody holds it."""
    job, site = f"Job {job_id}", place.agent.site
    never = too_big(place.limits, ask.num_nodes, ask.wall_time_min, ask.gpus, ask.mem_mb)
    if never:
        return Why("never_fits", f"{job} can't run at site {site}: {never}. Let it ask for less.")
    if not place.offers:
        away = "" if place.agent.alive else f" Also, {place.agent.absence(now)}."
        return Why(
            "no_allocation",
            f"{job} waits for nodes, and no BatchJob is queued or running at site {site}: run "
            f"`balsam queue submit`.{_last_one(ask, place.ended)}{away}",
        )
    fitting = [offer for offer in place.offers if misfit(ask, offer) is None]
    if fitting:
        return _fits(job, ask, min(fitting, key=_readiness), place.agent, now)
    offer, word, text = nearest(ask, place.offers)
    others = len({one.batch_job_id for one in place.offers}) - 1
    more = f" {counted(others, 'other BatchJob')} will not take it either." if others else ""
    return Why(
        f"no_fit_{word}",
        f"{job} fits no active BatchJob of site {site}. BatchJob {offer.batch_job_id}: {text}; "
        f"{REMEDIES[word]}.{more}",
    )


def nearest(ask: Ask, offers: Sequence[Offer]) -> tuple[Offer, str, str]:
    """Of offers none of which takes the job, the one that comes nearest, what is wrong, and the sentence."""
    misfits = [(offer, reason) for offer in offers if (reason := misfit(ask, offer)) is not None]
    offer, (word, text) = max(misfits, key=lambda one: NEARNESS.index(one[1][0]))
    return offer, word, text


def _last_one(ask: Ask, ended: Ended | None) -> str:
    """What became of the BatchJob that ended last, and whether another one like it would take the job."""
    if ended is None:
        return ""
    told = f" The last one: {ended.sentence}"
    if ended.offers and all(misfit(ask, offer) for offer in ended.offers):
        _, word, text = nearest(ask, ended.offers)
        return f"{told} It would not have taken this job: {text}; {REMEDIES[word]}."
    return f"{told} Mend that before you ask for another." if ended.was_early else told


@dataclass(frozen=True, slots=True)
class Unfit:
    """Jobs that wait at a site and that a BatchJob does not take: how many, one of them, and why that one.

    `is_all`: whether all jobs that wait were looked at.
    """

    count: int
    job_id: int
    text: str
    is_all: bool

    @property
    def sentence(self) -> str:
        if self.count == 1 and self.is_all:
            return f"Job {self.job_id}, which waits at the site, does not fit it: {self.text}."
        number = f"{self.count}" if self.is_all else f"At least {self.count}"
        return f"{number} jobs that wait at the site do not fit it, e.g. job {self.job_id}: {self.text}."


def unfit(asks: Sequence[tuple[int, Ask]], offers: Sequence[Offer], is_all: bool) -> Unfit | None:
    """`asks`: of jobs that wait. Of the reasons why some do not fit, the most frequent one is told."""
    found: dict[str, list[tuple[int, str]]] = {}
    for job_id, ask in asks:
        if offers and all(misfit(ask, offer) for offer in offers):
            _, word, text = nearest(ask, offers)
            found.setdefault(word, []).append((job_id, f"{text}; {REMEDIES[word]}"))
    if not found:
        return None
    job_id, text = max(found.values(), key=len)[0]
    return Unfit(sum(map(len, found.values())), job_id, text, is_all)


def clock_note(whose: str, ahead_us: int) -> str:
    """Of a host whose clock is far from the server's."""
    side = "ahead of" if ahead_us > 0 else "behind"
    return (
        f"the clock of {whose} is {abs(ahead_us) // 1_000_000} s {side} the server's, which its reports are "
        "corrected by: let the host take its time from a time server (NTP)"
    )


def _readiness(offer: Offer) -> tuple[bool, bool, bool, int]:
    """What will take a job first comes first."""
    runs = offer.state is BatchJobState.running and not offer.trouble
    queued = offer.state is BatchJobState.queued
    return not (runs and offer.launcher), not runs, not queued, offer.batch_job_id


def _fits(job: str, ask: Ask, offer: Offer, agent: Agent, now: int) -> Why:
    which = f"BatchJob {offer.batch_job_id} at site {agent.site}"
    at = "" if offer.at is None else f" since {since(offer.at, now)}"
    if offer.state is BatchJobState.running and offer.launcher and offer.trouble:
        return Why("node_trouble", f"{job} waits for {which}, where {offer.launcher} tells: {offer.trouble}.")
    if offer.state is BatchJobState.running and offer.launcher:
        held_up = in_words(offer.launcher, offer.in_hand, now)
        return Why(
            "next",
            f"{job} waits for a free place in {which}{_asks(ask)}: {held_up}. Jobs of higher priority, and "
            "large ones that have waited long, come first.",
        )
    if offer.state is BatchJobState.running:
        return Why(
            "no_launcher",
            f"{job} waits for {which}, which runs{at}, but no launcher is heard of there: see "
            f"`balsam queue why {offer.batch_job_id}`.",
        )
    if offer.state is BatchJobState.queued:
        return Why("queued", f"{job} waits for {which}, which has been waiting in its queue{at}.")
    if not agent.alive:
        return Why("no_agent", f"{job} waits for {which}, which is not submitted: {agent.absence(now)}.")
    return Why("not_submitted", f"{job} waits for {which}, asked for{at} and not submitted yet.")


def _asks(ask: Ask) -> str:
    asked = [counted(ask.gpus, "GPU")] * (ask.gpus > 0) + [f"{ask.mem_mb} MB"] * (ask.mem_mb > 0)
    return f", on a node that has the {' and '.join(asked)} that it asks for free" if asked else ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What an AWAITING_PARENTS job waits for, followed from its parent to the root.

    `chain`: ids, the root's last; `root_state`: None where it was deleted; `is_lost`: it can never be done.
    `reason`: why the root FAILED, or what keeps it. `waiting`: how many of the `num_parents` are not done.
    """

    chain: Sequence[int]
    root_state: JobState | None
    parent_state: JobState | None
    is_lost: bool
    reason: str
    waiting: int
    num_parents: int

    @property
    def root(self) -> int:
        return self.chain[-1]


LINKS_NAMED = 3


def parents(job_id: int, waits: Waiting | None) -> Why:
    """Which parent an AWAITING_PARENTS job waits for, and what that waits for in turn."""
    if waits is None:
        return Why("parents_done", f"The parents of job {job_id} are done; it moves on with the next change.")
    if not waits.is_lost:
        return _parents_unfinished(job_id, waits)
    if len(waits.chain) > 1:
        return _ancestor_lost(job_id, waits)
    if waits.root_state is None:
        return Why(
            "parent_gone",
            f"The parent {waits.root} of job {job_id} was deleted, so that the job can never start: delete "
            f"it, too (`balsam job rm {job_id}`).",
        )
    told = f": {waits.reason}" if waits.reason else ""
    return Why(
        "parent_failed",
        f"Job {job_id} needs all its parents finished, and its parent {waits.root} FAILED (`balsam job why "
        f"{waits.root}`){told}. Mend and retry the parent (`balsam job retry {waits.root}`), set "
        f'parents_must="end", or delete job {job_id}.',
    )


def _ancestor_lost(job_id: int, waits: Waiting) -> Why:
    job = f"Job {job_id} can never start as things are: it waits for {_links(waits.chain[:-1])}"
    if waits.root_state is None:
        return Why(
            "ancestor_failed",
            f"{job}, and that for job {waits.root}, which was deleted. Delete these, too (`balsam job rm "
            f"{waits.chain[-2]} {job_id}`).",
        )
    told = f": {waits.reason}" if waits.reason else ""
    return Why(
        "ancestor_failed",
        f"{job}, and that for job {waits.root}, which FAILED{told}. Mend and retry job {waits.root} (`balsam "
        f"job retry {waits.root}`), and those that wait for it go on.",
    )


def _parents_unfinished(job_id: int, waits: Waiting) -> Why:
    first = waits.chain[0]
    whose = (
        f"its parent, job {first}"
        if waits.num_parents == 1
        else f"{waits.waiting} of its {waits.num_parents} parents, e.g. job {first}"
    )
    state = f"Job {job_id} waits for {whose}, which is {waits.parent_state} (`balsam job why {first}`)."
    if len(waits.chain) > 1:
        state += f" That waits for {_links(waits.chain[1:])}, which is {waits.root_state}."
    return Why("parent_unfinished", f"{state} {waits.reason}".strip())


def _links(chain: Sequence[int]) -> str:
    """`job 7, that for job 6, ...`: in words, the middle of a long chain counted."""
    if len(chain) <= LINKS_NAMED:
        return ", that for ".join(f"job {one}" for one in chain)
    left_out = len(chain) - 2
    return f"job {chain[0]}, that through {counted(left_out, 'other job')} for job {chain[-1]}"


def hook(job_id: int, name: str, entered: int, agent: Agent, now: int) -> Why:
    """Of a job that waits for a hook and that nobody holds."""
    if agent.alive:
        return Why(
            "hook",
            f"Job {job_id} has been waiting since {since(entered, now)} for the agent of site {agent.site} "
            f"to call {name}().",
        )
    return Why("no_agent", f"Job {job_id} waits for {name}(), and {agent.absence(now)}.")


@dataclass(frozen=True, slots=True)
class Holder:
    """A session that holds jobs: in words, and what it has told. `hooks`: job -> since when its hook runs.

    `trouble`: what keeps an agent from beginning hooks for the moment.
    """

    who: str
    is_agent: bool
    last: int
    hooks: Mapping[int, int]
    trouble: str | None = None


def held_by_agent(job_id: int, name: str, holder: Holder, now: int) -> Why:
    """Of a job that the agent has in hand for a hook."""
    started = holder.hooks.get(job_id)
    if started is not None:
        return Why(
            "hook_running",
            f"{name}() of job {job_id} has been running at {holder.who} since {since(started, now)}; its "
            f"output is in balsam.log in the job's workdir. If it hangs: `balsam job kill {job_id}`.",
        )
    if holder.trouble:
        return Why(
            "node_trouble", f"{name}() of job {job_id} waits at {holder.who}, which tells: {holder.trouble}."
        )
    if not holder.hooks:
        return Why("hook_next", f"{holder.who.capitalize()} is about to call {name}() of job {job_id}.")
    other, oldest = min(holder.hooks.items(), key=lambda one: (one[1], one[0]))
    return Why(
        "hook_queued",
        f"{name}() of job {job_id} is in line at {holder.who}, where {counted(len(holder.hooks), 'hook')} "
        f"run, the oldest since {since(oldest, now)} for job {other}. If that one hangs: `balsam job kill "
        f"{other}`; settings.yml, processing.num_workers, allows for more at once.",
    )
