"""PBS Pro and OpenPBS: words of their commands, readers of their outputs.

Listings are asked for as text, of this user's allocations alone. The JSON form has only the first of several
ids, is no JSON where a user's variable holds certain letters, and the tables cut ids and names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from balsam.core.allocation_causes import EndOf
from balsam.platform.schedulers.allocation import (
    Allocation,
    AllocationState,
    Declined,
    Later,
    QueueView,
    Submission,
    Submitted,
    Submitting,
    Unsure,
)
from balsam.platform.schedulers.batch_system import SubmitForm
from balsam.platform.schedulers.commands import Call, Done, Surroundings
from balsam.platform.schedulers.local_times import SEC, parse_day
from balsam.platform.schedulers.pbs_words import (
    AWAY,
    GONE,
    HELD,
    NO_HISTORY,
    OVER_LIMIT,
    PASSING,
    STATES,
    UNCERTAIN,
    cause_of,
    in_words,
    never_starts,
)

SURROUNDINGS = Surroundings(
    hidden=("PBS_", "PBSCOREDUMP"),
    kept=frozenset(("PBS_CONF_FILE", "PBS_EXEC", "PBS_HOME", "PBS_SERVER", "PBS_PRIMARY", "PBS_SECONDARY")),
)
MOST_IDS = 100  # on one command line
WHOLE_NODES = ("-l", "place=scatter:excl")
_ID = re.compile(r"\d+(\[\d*\])?(\.[\w.-]+)?", re.ASCII)
_HEAD = re.compile(r"^Job Id: (\S+)$", re.MULTILINE)
_HOST = re.compile(r"[\w.-]+")
Attributes = dict[str, str]


@dataclass(frozen=True)
class Pbs:
    """`form`: how this machine wants to be asked."""

    form: SubmitForm = field(default_factory=SubmitForm)

    @property
    def surroundings(self) -> Surroundings:
        return SURROUNDINGS

    def submit(self, submission: Submission) -> Call:
        """The script begins in the user's home, with the variables of a login: there is no option for it.

        The output goes to its place directly (`-k oed`): copied at the end it may keep it in state E.
        """
        form, wanted = self.form, submission
        queue = "-q" if form.queue_option is None else form.queue_option
        project = "-A" if form.project_option is None else form.project_option
        nodes = form.nodes or "-l select={num_nodes}"
        hours, minutes = divmod(wanted.wall_time_min, 60)
        words = [
            *("qsub", "-N", wanted.label, "-j", "oe", "-k", "oed", "-o", str(wanted.output)),
            *("-S", "/bin/bash", *nodes.format(num_nodes=wanted.num_nodes).split()),
            *("-l", f"walltime={hours}:{minutes:02}:00", "-r", "y" if form.rerunnable else "n"),
            *(WHOLE_NODES if form.always is None else form.always),
            *([queue, wanted.queue] if queue and wanted.queue else []),
            *([project, wanted.project] if project and wanted.project else []),
        ]
        return Call((*words, str(wanted.script)))

    def read_submission(self, done: Done) -> Submitting:
        if (scheduler_id := parse_id(done.stdout)) and done.returncode in (0, None):
            return Submitted(scheduler_id)
        if done.returncode is None or done.returncode <= 0:
            return Unsure(done.sentence)
        if any(words in done.stderr for words in UNCERTAIN):
            return Unsure(done.sentence)
        passes = done.returncode in (OVER_LIMIT, *AWAY) or any(words in done.stderr for words in PASSING)
        if passes:
            return Later(done.sentence)
        return Declined(done.sentence) if done.stderr.strip() else Unsure(done.sentence)

    def look(self, user: str) -> Sequence[Call]:
        return [Call(("qselect", "-u", user))]

    def details(self, listed: Sequence[Done], recorded: bool) -> Sequence[Call]:
        """Of the ids that qselect told; arrays are none of ours."""
        told = [line.strip() for done in listed for line in done.stdout.split("\n")[:-1]]
        ids = dict.fromkeys(line for line in told if _ID.fullmatch(line) and "[" not in line)
        return _qstat(list(ids), "-xf" if recorded else "-f")

    def read_look(self, answers: Sequence[Done]) -> QueueView:
        """One that ended between the two commands is told to be unknown, or finished: it is gone."""
        listed, *details = answers
        lines = listed.stdout.split("\n")
        ids = [line.strip() for line in lines[:-1] if _ID.fullmatch(line.strip())]
        unreadable = [line for line in lines[:-1] if line.strip() and line.strip() not in ids]
        unreadable += [lines[-1]] if lines[-1] else []
        found: list[Allocation] = []
        trouble = "" if listed.returncode == 0 else listed.sentence
        for done in details:
            lives, torn = _read(done)
            found += lives
            unreadable += torn
            trouble = trouble or _failure(done)
        told = {one.scheduler_id for one in found}.union(*(_gone(done) for done in details))
        untold = [one for one in ids if one not in told and "[" not in one]
        if unreadable and not trouble:
            trouble = f"PBS printed what can't be read: {unreadable[0][:200]!r}"
        if untold and not trouble:
            trouble = f"qselect names {untold[0]}, and qstat tells nothing of it"
        return QueueView(tuple(found), not trouble, 0, trouble, tuple(unreadable))

    def account(self, ids: Sequence[str]) -> Sequence[Call]:
        return _qstat(ids, "-xf")

    def search(self, labels: Sequence[str], since_us: int) -> Sequence[Call]:
        return [Call(("qselect", "-x", "-N", label)) for label in labels]

    def read_account(self, answers: Sequence[Done]) -> tuple[list[Allocation], str, bool]:
        """History holds the last life of an allocation, and in what waits again how the one before ended."""
        lives: list[Allocation] = []
        trouble, kept = "", True
        for done in answers:
            if NO_HISTORY in done.stderr:
                kept = False
            else:
                trouble = trouble or _failure(done)
                lives += _read(done, past=True)[0]
        return lives, trouble, kept

    def delete(self, allocation: Allocation, politely: bool) -> Call:
        """One id with each command: several, with an array among them, let qdel abort."""
        words = ("qsig", "-s", "SIGTERM") if politely else ("qdel",)
        return Call((*words, allocation.scheduler_id))

    def read_deletion(self, done: Done) -> str:
        if done.returncode == 0 or any(words in done.stderr for words in GONE):
            return ""
        return done.sentence


def parse_id(text: str) -> str:
    """From what qsub prints: `123.pbs01`. Empty where there is no whole line with an id."""
    lines = [line.strip() for line in text.split("\n")[:-1]]
    return next((line for line in lines if _ID.fullmatch(line)), "")


def end_of_allocation(environ: Mapping[str, str]) -> float | Call | None:
    """The command that tells when the allocation of this process ends; None where it is in none."""
    job = environ.get("PBS_JOBID", "")
    return Call(("qstat", "-f", job)) if _ID.fullmatch(job) else None


def read_end(done: Done) -> float | None:
    """From the answer to that command: start and wall time."""
    for _, known in _blocks(done.stdout)[0] if done.returncode == 0 else ():
        start, limit = parse_day(known.get("stime", "")), _seconds(known.get("Resource_List.walltime", ""))
        if start is not None and limit is not None:
            return start / SEC + limit
    return None


def _seconds(text: str) -> int | None:
    """Of `01:30:00`."""
    parts = text.split(":")
    if not 1 <= len(parts) <= 3 or not all(part.isascii() and part.isdecimal() for part in parts):
        return None
    seconds = 0
    for part in parts:
        seconds = 60 * seconds + int(part)
    return seconds


def _qstat(ids: Sequence[str], how: str) -> list[Call]:
    parts = [ids[start : start + MOST_IDS] for start in range(0, len(ids), MOST_IDS)]
    return [Call(("qstat", how, *part)) for part in parts]


def _failure(done: Done) -> str:
    """Why an answer is not whole; ids that are not known any more are no failure."""
    if done.returncode == 0:
        return ""
    others = [line for line in done.stderr.splitlines() if not any(words in line for words in GONE)]
    known = done.returncode is not None and done.returncode > 0 and done.stderr.strip()
    return "" if known and not any(map(str.strip, others)) else done.sentence


def _gone(done: Done) -> set[str]:
    """The ids that an answer says are not known any more, or over."""
    lines = [line for line in done.stderr.splitlines() if any(words in line for words in GONE)]
    return {word for line in lines for word in line.split() if _ID.fullmatch(word)}


def _read(done: Done, past: bool = False) -> tuple[list[Allocation], list[str]]:
    """The allocations of a `qstat -f`, and what in it can't be read."""
    blocks, unreadable = _blocks(done.stdout)
    lives: list[Allocation] = []
    for scheduler_id, known in blocks:
        allocation = _allocation(scheduler_id, known)
        if allocation is None:
            unreadable.append(f"Job Id: {scheduler_id}: job_state {known.get('job_state')!r}")
            continue
        if past and (before := _life_before(allocation, known)):
            lives.append(before)
        lives.append(allocation)
    return lives, unreadable


def _blocks(text: str) -> tuple[list[tuple[str, Attributes]], list[str]]:
    """Each `Job Id:` with its attributes; lines that begin with a tab go on the one before.

    The first value of a name counts: variables of the user stand among them, and may hold lines of anything.
    A block ends with an empty line. One that was cut is none.
    """
    heads = list(_HEAD.finditer(text))
    ends = [*(head.start() for head in heads), len(text)]
    blocks: list[tuple[str, Attributes]] = []
    unreadable = [line for line in text[: ends[0]].splitlines() if line.strip()]
    for head, (_, end) in zip(heads, pairwise(ends), strict=True):
        body = text[head.end() : end]
        if not body.endswith("\n\n") or not _ID.fullmatch(head[1]):
            unreadable.append(head[0])
            continue
        known: Attributes = {}
        for line in body.replace("\n\t", "").splitlines():
            name, is_one, value = line.strip().partition(" = ")
            if is_one:
                known.setdefault(name, value)
        blocks.append((head[1], known))
    return blocks, unreadable


def _allocation(scheduler_id: str, known: Attributes) -> Allocation | None:
    if not known.get("Job_Name") or not known.get("job_state"):
        return None
    state = STATES.get(known["job_state"], AllocationState.unknown)
    waits, ended = state is AllocationState.queued, state is AllocationState.ended
    submit, start = parse_day(known.get("qtime", "")), parse_day(known.get("stime", ""))
    reason, never = _reason(known) if waits else ("", False)
    count = known.get("Resource_List.nodect", "")
    return Allocation(
        scheduler_id=scheduler_id,
        label=known["Job_Name"],
        state=state,
        start_us=None if waits else start,
        end_us=_end(known) if ended else None,
        cause=_cause(known) if ended else None,
        reason=reason,
        never=never,
        queue=known.get("queue", ""),
        num_nodes=int(count) if count.isascii() and count.isdecimal() else None,
        nodes=_hosts(known),
        submit_us=submit,
    )


def _reason(known: Attributes) -> tuple[str, bool]:
    """Why it waits, and whether it can't start before somebody changes something."""
    comment, holds = known.get("comment", ""), known.get("Hold_Types", "n")
    if known["job_state"] == "H" and "depend" not in known:
        told = [text for letter, text in HELD.items() if letter in holds]
        return "; ".join([*([comment] if comment else []), *told]) or "it is held", True
    if known["job_state"] == "W" and (begin := known.get("Execution_Time")):
        return f"its time has not come yet: {begin}", False
    if "depend" in known and known["job_state"] == "H":
        return f"it waits for others: {known['depend']}", False
    return in_words(comment), never_starts(comment)


def _hosts(known: Attributes) -> str:
    """`n1/0*4+n2/0*4`: n1,n2."""
    parts = [_HOST.match(part) for part in known.get("exec_host", "").split("+")]
    return ",".join(dict.fromkeys(part[0] for part in parts if part))


def _cause(known: Attributes) -> str:
    return cause_of(known.get("Exit_status", ""), known.get("comment", ""), _hosts(known))


def _end(known: Attributes) -> int | None:
    """`history_timestamp` has a zone; it is when it became history."""
    told = known.get("history_timestamp", "")
    if told.isascii() and told.isdecimal():
        return int(told) * SEC
    return parse_day(known.get("obittime", "")) or parse_day(known.get("mtime", ""))


def _life_before(allocation: Allocation, known: Attributes) -> Allocation | None:
    """Of one that ran and waits, or runs, again."""
    times = known.get("run_count", "")
    runs = int(times) if times.isascii() and times.isdecimal() else 0
    again = runs > 0 if allocation.state is AllocationState.queued else runs > 1
    if not again or allocation.state is AllocationState.ended:
        return None
    told = allocation.state is AllocationState.queued and "Exit_status" in known
    return Allocation(
        scheduler_id=allocation.scheduler_id,
        label=allocation.label,
        state=AllocationState.ended,
        end_us=parse_day(known.get("obittime", "")),
        cause=_cause(known) if told else EndOf.requeued(),
        submit_us=allocation.submit_us,
    )
