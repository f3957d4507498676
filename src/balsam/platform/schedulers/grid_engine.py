"""Grid Engine 8.1: words of its commands, readers of their outputs.

`qstat` is read as XML, piece by piece: its table cuts names, and one that was cut is no XML.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

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
from balsam.platform.schedulers.grid_engine_words import (
    ERROR,
    GONE,
    HELD,
    NOT_FOUND,
    PASSING,
    REFUSED,
    UNCERTAIN,
    cause_of,
    state_of,
)
from balsam.platform.schedulers.local_times import parse_day, parse_iso

SURROUNDINGS = Surroundings(
    hidden=("SGE_", "JOB_", "PE_HOSTFILE", "NSLOTS", "NHOSTS", "NQUEUES", "RESTARTED", "REQUEST"),
    kept=frozenset(
        (
            "SGE_ROOT",
            "SGE_CELL",
            "SGE_QMASTER_PORT",
            "SGE_EXECD_PORT",
            "SGE_CLUSTER_NAME",
            "REQUESTS_CA_BUNDLE",
        )
    ),
)
MOST_IDS = 100  # on one command line
_JOB = re.compile(r"<job_list\b[^>]*>(.*?)</job_list>", re.DOTALL)
_VALUE = re.compile(r"<(\w+)(?: [^>]*)?>([^<]*)</\1>")
_ERROR = re.compile(r"^error reason\s+\d+:\s*(.*?)\s*$", re.MULTILINE)
_NUMBER = re.compile(r"^job_number:\s*(\d+)\s*$", re.MULTILINE | re.ASCII)
_ID = re.compile(r"(\d+)(?:\.\d+-\d+:\d+)?", re.ASCII)


@dataclass(frozen=True)
class GridEngine:
    """`form`: how this machine wants to be asked."""

    form: SubmitForm = field(default_factory=SubmitForm)

    @property
    def surroundings(self) -> Surroundings:
        return SURROUNDINGS

    def submit(self, submission: Submission) -> Call:
        """`-w e` refuses what would wait for ever; with `-notify` a signal goes before the one that kills."""
        form, wanted = self.form, submission
        queue = "-q" if form.queue_option is None else form.queue_option
        project = "-P" if form.project_option is None else form.project_option
        nodes = form.nodes or "-pe mpi {num_nodes}"
        words = [
            *("qsub", "-terse", "-N", wanted.label, "-j", "y", "-o", str(wanted.output)),
            *("-wd", str(wanted.workdir), "-S", "/bin/bash", "-notify", "-w", "e"),
            *nodes.format(num_nodes=wanted.num_nodes).split(),
            *("-l", f"h_rt={wanted.wall_time_min * 60}", "-r", "y" if form.rerunnable else "n"),
            *(form.always or ()),
            *([queue, wanted.queue] if queue and wanted.queue else []),
            *([project, wanted.project] if project and wanted.project else []),
        ]
        return Call((*words, str(wanted.script)))

    def read_submission(self, done: Done) -> Submitting:
        if (scheduler_id := parse_id(done.stdout)) and done.returncode in (0, None):
            return Submitted(scheduler_id)
        told = f"{done.stdout}\n{done.stderr}"
        if not done.returncode or done.returncode < 0 or any(words in told for words in UNCERTAIN):
            return Unsure(done.sentence)
        if any(words in told for words in PASSING):
            return Later(done.sentence)
        return Declined(done.sentence) if REFUSED in told else Unsure(done.sentence)

    def look(self, user: str) -> Sequence[Call]:
        return [Call(("qstat", "-xml", "-u", user, "-r"))]

    def details(self, listed: Sequence[Done], recorded: bool) -> Sequence[Call]:
        """Of those in error, why."""
        if recorded:
            return []
        jobs = [known for done in listed for known in _jobs(done.stdout)]
        ids = [known["JB_job_number"] for known in jobs if "E" in known.get("state", "")]
        parts = [ids[start : start + MOST_IDS] for start in range(0, len(ids), MOST_IDS)]
        return [Call(("qstat", "-j", ",".join(part))) for part in parts]

    def read_look(self, answers: Sequence[Done]) -> QueueView:
        """Tasks of arrays come one by one under one id; arrays are none of ours."""
        done, *details = answers
        reasons = {number: text for one in details for number, text in _errors(one.stdout).items()}
        known = _jobs(done.stdout)
        found = [allocation for one in known if (allocation := _listed(one, reasons)) is not None]
        torn = [str(one) for one in known if _listed(one, reasons) is None]
        trouble = "" if done.returncode == 0 else done.sentence
        whole = done.stdout.rstrip().endswith("</job_info>")
        if not trouble and (torn or not whole or done.stdout.count("<job_list") != len(known)):
            trouble = f"qstat printed what can't be read: {(torn or [done.stdout[-200:]])[0]!r}"
        return QueueView(tuple(found), not trouble, 0, trouble, tuple(torn))

    def account(self, ids: Sequence[str]) -> Sequence[Call]:
        return [Call(("qacct", "-j", number)) for number in ids]

    def search(self, labels: Sequence[str], since_us: int) -> Sequence[Call]:
        return [Call(("qacct", "-j", label)) for label in labels]

    def read_account(self, answers: Sequence[Done]) -> tuple[list[Allocation], str, bool]:
        """It knows only what has ended, up to a minute or so after that."""
        lives: list[Allocation] = []
        trouble = ""
        for done in answers:
            unknown = done.returncode == 1 and NOT_FOUND.search(f"{done.stdout}\n{done.stderr}")
            if done.returncode != 0 and not unknown:
                trouble = trouble or done.sentence
            else:
                lives += _records(done.stdout)
        return lives, trouble, True

    def delete(self, allocation: Allocation, politely: bool) -> Call:
        """There is one way to ask for its end; it was submitted with `-notify`."""
        return Call(("qdel", allocation.scheduler_id))

    def read_deletion(self, done: Done) -> str:
        told = f"{done.stdout}\n{done.stderr}"
        return "" if done.returncode == 0 or GONE in told else done.sentence


def parse_id(text: str) -> str:
    """From what `qsub -terse` prints: `1`, or 11 of `11.1-4:1`. Empty where there is no such line."""
    found = [_ID.fullmatch(line.strip()) for line in text.split("\n")[:-1]]
    return next((match[1] for match in found if match), "")


def _jobs(text: str) -> list[dict[str, str]]:
    """The values of each job in qstat's XML; of those that stand twice, the first."""
    jobs: list[dict[str, str]] = []
    for piece in _JOB.findall(text):
        known: dict[str, str] = {}
        for name, value in _VALUE.findall(piece):
            known.setdefault(name, html.unescape(value))
        jobs.append(known)
    return [known for known in jobs if known.get("JB_job_number", "").isdecimal()]


def _errors(text: str) -> dict[str, str]:
    """Why jobs are in error, by id, from `qstat -j`."""
    found: dict[str, str] = {}
    for piece in text.split("=" * 62):
        number, reason = _NUMBER.search(piece), _ERROR.search(piece)
        if number and reason:
            found[number[1]] = reason[1]
    return found


def _listed(known: dict[str, str], reasons: dict[str, str]) -> Allocation | None:
    number, letters = known["JB_job_number"], known.get("state", "")
    label = known.get("full_job_name") or known.get("JB_name", "")
    submit, start = known.get("JB_submission_time", ""), known.get("JAT_start_time", "")
    if not label or not letters or (submit and parse_iso(submit) is None):
        return None
    state = state_of(letters)
    waits = state is AllocationState.queued
    held = waits and bool(set(letters) & {"h", "E"})
    reason = ""
    if held:
        reason = f"{ERROR}: {reasons[number]}" if number in reasons else ERROR if "E" in letters else HELD
    return Allocation(
        scheduler_id=number,
        label=label,
        state=state,
        start_us=None if waits else parse_iso(start),
        reason=reason,
        never=held,
        queue=(known.get("queue_name") or known.get("hard_req_queue", "")).partition("@")[0],
        submit_us=parse_iso(submit),
    )


def _records(text: str) -> list[Allocation]:
    """What qacct tells, a record for each life; tasks of arrays are none of ours."""
    lives: list[Allocation] = []
    for piece in re.split(r"^={10,}\s*$", text, flags=re.MULTILINE)[1:]:
        known: dict[str, str] = {}
        for line in piece.splitlines():
            name, _, value = line.partition(" ")
            known.setdefault(name, value.strip())
        number, label = known.get("jobnumber", ""), known.get("jobname", "")
        whole = number.isdecimal() and label and "failed" in known and "maxvmem" in known
        if whole and known.get("taskid", "undefined") == "undefined":
            lives.append(_life(known))
    return lives


def _life(known: dict[str, str]) -> Allocation:
    start = parse_day(known.get("start_time", ""))
    life = Allocation(
        scheduler_id=known["jobnumber"],
        label=known["jobname"],
        state=AllocationState.ended,
        start_us=start,
        end_us=parse_day(known.get("end_time", "")),
        cause=cause_of(known["failed"], known.get("exit_status", ""), start is not None),
        queue=known.get("qname", ""),
        nodes=known.get("hostname", ""),
        submit_us=parse_day(known.get("qsub_time", "")),
    )
    return replace(life, end_us=life.end_us or life.start_us)
