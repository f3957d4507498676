"""LSF 10.1: words of its commands, readers of their outputs.

Written after recorded outputs and the manual. Times have minutes and, unless LSF heeds LSB_DISPLAY_YEAR, no
year. The name of a job, which may hold anything, is last in a line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from balsam.core.clock import now_us
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
from balsam.platform.schedulers.lsf_words import GONE, HELD, NO_JOBS, NOT_SUBMITTED, PASSING, STATES, cause_of

SURROUNDINGS = Surroundings(
    hidden=("LSB_", "LS_JOBPID", "LS_SUBCWD", "LSF_BSUB_", "BSUB_"),
    told={"LSB_DISPLAY_YEAR": "Y"},
)
_FIELDS = (
    *("jobid", "stat", "exit_code", "queue", "nexec_host", "exec_host"),
    *("start_time", "finish_time", "submit_time", "exit_reason", "job_name"),
)
LISTED = f"{' '.join(_FIELDS)} delimiter='|'"
MOST_IDS = 200  # on one command line
WHOLE_NODES = ("-x",)
_TAKEN = re.compile(
    r"^Job <(\d+)> is submitted to (?:default )?queue <[^>\n]*>\.\s*$", re.MULTILINE | re.ASCII
)
_HOST = re.compile(r"(?:\d+\*)?([\w.-]+)")


@dataclass(frozen=True)
class Lsf:
    """`form`: how this machine wants to be asked."""

    form: SubmitForm = field(default_factory=SubmitForm)
    clock: Callable[[], int] = now_us

    @property
    def surroundings(self) -> Surroundings:
        return SURROUNDINGS

    def submit(self, submission: Submission) -> Call:
        """The script goes to standard input: in a file, its directives are read at some sites alone."""
        form, wanted = self.form, submission
        queue = "-q" if form.queue_option is None else form.queue_option
        project = "-P" if form.project_option is None else form.project_option
        nodes = form.nodes or "-n {num_nodes} -R span[ptile=1]"
        words = [
            *("bsub", "-J", wanted.label, "-o", str(wanted.output), "-cwd", str(wanted.workdir)),
            *nodes.format(num_nodes=wanted.num_nodes).split(),
            *("-W", str(wanted.wall_time_min), "-r" if form.rerunnable else "-rn"),
            *(WHOLE_NODES if form.always is None else form.always),
            *([queue, wanted.queue] if queue and wanted.queue else []),
            *([project, wanted.project] if project and wanted.project else []),
        ]
        return Call(tuple(words), stdin=wanted.script, exports=True)

    def read_submission(self, done: Done) -> Submitting:
        if (match := _TAKEN.search(done.stdout)) and done.returncode in (0, None):
            return Submitted(match[1])
        if not done.returncode or done.returncode < 0 or NOT_SUBMITTED not in done.stderr:
            return Unsure(done.sentence)
        passes = any(words in done.stderr for words in PASSING)
        return Later(done.sentence) if passes else Declined(done.sentence)

    def look(self, user: str) -> Sequence[Call]:
        return [_bjobs("-u", user)]

    def details(self, listed: Sequence[Done], recorded: bool) -> Sequence[Call]:
        return []

    def read_look(self, answers: Sequence[Done]) -> QueueView:
        [done] = answers
        found, unreadable = self._read(done)
        trouble = _failure(done)
        if unreadable and not trouble:
            trouble = f"bjobs printed what can't be read: {unreadable[0][:200]!r}"
        return QueueView(tuple(found), not trouble, 0, trouble, tuple(unreadable))

    def account(self, ids: Sequence[str]) -> Sequence[Call]:
        """What ended stays in bjobs for CLEAN_PERIOD, an hour where nobody has set it."""
        parts = [ids[start : start + MOST_IDS] for start in range(0, len(ids), MOST_IDS)]
        return [_bjobs("-a", *part) for part in parts]

    def search(self, labels: Sequence[str], since_us: int) -> Sequence[Call]:
        return [_bjobs("-a", "-J", label) for label in labels]

    def read_account(self, answers: Sequence[Done]) -> tuple[list[Allocation], str, bool]:
        trouble = next(filter(None, map(_failure, answers)), "")
        return [life for done in answers for life in self._read(done)[0]], trouble, True

    def delete(self, allocation: Allocation, politely: bool) -> Call:
        """Without more bkill sends SIGINT, then SIGTERM, then SIGKILL."""
        return Call(("bkill", *(("-s", "TERM") if politely else ()), allocation.scheduler_id))

    def read_deletion(self, done: Done) -> str:
        told = f"{done.stdout}\n{done.stderr}"
        if done.returncode == 0 or any(words in told for words in GONE):
            return ""
        return done.sentence

    def _read(self, done: Done) -> tuple[list[Allocation], list[str]]:
        *lines, rest = done.stdout.split("\n")
        found: list[Allocation] = []
        unreadable = [rest] if rest else []  # cut in its midst
        for line in lines:
            if (allocation := self._listed(line)) is not None:
                found.append(allocation)
            elif "|" in line:
                unreadable.append(line)
        return found, unreadable

    def _listed(self, line: str) -> Allocation | None:
        parts = line.split("|", len(_FIELDS) - 1)
        if len(parts) != len(_FIELDS) or not (parts[0].isascii() and parts[0].isdecimal()):
            return None
        number, word, code, queue, count, hosts, start, finish, submit, reason, label = parts
        now = self.clock()
        submit_us = parse_day(submit, now)
        if submit_us is None:
            return None
        state = STATES.get(word, AllocationState.unknown)
        waits, ended = state is AllocationState.queued, state is AllocationState.ended
        held = word == "PSUSP"
        return Allocation(
            scheduler_id=number,
            label=label,
            state=state,
            start_us=None if waits else parse_day(start, now),
            end_us=parse_day(_bare(finish), now) if ended else None,
            cause=cause_of(word, code, reason) if ended else None,
            reason=HELD if held else "",
            never=held,
            queue=queue,
            num_nodes=int(count) if count.isascii() and count.isdecimal() else None,
            nodes=_hosts(hosts),
            submit_us=submit_us,
        )


def end_of_allocation(environ: Mapping[str, str]) -> float | Call | None:
    """The command that tells; None where this process is in no job of LSF."""
    job = environ.get("LSB_JOBID", "")
    if not (job.isascii() and job.isdecimal()):
        return None
    return Call(("bjobs", "-noheader", "-o", "finish_time", job))


def read_end(done: Done) -> float | None:
    """From the answer to that command: a time with ` L` is that of the limit, others are estimates."""
    text = done.stdout.strip()
    end = parse_day(_bare(text), now_us()) if done.returncode == 0 and text.endswith(" L") else None
    return None if end is None else end / SEC


def _bare(text: str) -> str:
    """A time without the letter behind it."""
    return re.sub(r" [LEX]$", "", text.strip())


def _hosts(text: str) -> str:
    """`4*n1:4*n2` and `n1:n1:n2`: n1,n2."""
    parts = [_HOST.fullmatch(part) for part in text.split(":")]
    return ",".join(dict.fromkeys(part[1] for part in parts if part and part[1] != "-"))


def _bjobs(*words: str) -> Call:
    return Call(("bjobs", "-noheader", "-o", LISTED, *words))


def _failure(done: Done) -> str:
    """Why an answer is not whole; that there are none, or not all that were asked for, is no failure."""
    if done.returncode == 0:
        return ""
    others = [
        line
        for line in done.stderr.splitlines()
        if line.strip() and not any(words in line for words in (*GONE, *NO_JOBS))
    ]
    told = done.returncode is not None and done.returncode > 0 and done.stderr.strip()
    return "" if told and not others else done.sentence
