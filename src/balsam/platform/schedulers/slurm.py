"""Slurm, 20.11 and later: words of its commands, readers of their outputs.

Listings are asked for in a format of our own with times in seconds since 1970 and the job's name, which may
hold anything, last. That form did not change in fifteen years; `--json` did with each release.
"""

from __future__ import annotations

import pwd
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

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
from balsam.platform.schedulers.slurm_words import (
    GONE,
    NO_ACCOUNTING,
    PASSING,
    UNCERTAIN,
    in_words,
    meaning_of,
    never_starts,
)

SURROUNDINGS = Surroundings(
    hidden=(
        *("SLURM", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "SINFO_", "SALLOC_", "SRUN_"),
        *("PMI_", "PMIX_"),
    ),
    kept=frozenset(("SLURM_CONF",)),
    told={"SLURM_TIME_FORMAT": "%s"},
)
LISTED = "%A|%i|%T|%r|%S|%e|%V|%D|%N|%P|%j"
RECORDED = "JobIDRaw,State,ExitCode,Reason,Submit,Start,End,NodeList,JobName"
MOST_IDS = 200  # on one command line
WHOLE_NODES = ("--exclusive",)
_NO_NODES = ("", "(null)", "None assigned", "n/a")


@dataclass(frozen=True)
class Slurm:
    """`form`: how this machine wants to be asked."""

    form: SubmitForm = field(default_factory=SubmitForm)

    @property
    def surroundings(self) -> Surroundings:
        return SURROUNDINGS

    def submit(self, submission: Submission) -> Call:
        """On the command line, which goes before directives in the script and variables."""
        form, wanted = self.form, submission
        queue = "--partition" if form.queue_option is None else form.queue_option
        project = "--account" if form.project_option is None else form.project_option
        nodes = form.nodes or "--nodes={num_nodes}"
        words = [
            "sbatch",
            "--parsable",
            f"--job-name={wanted.label}",
            f"--output={_pattern(str(wanted.output))}",
            "--open-mode=append",
            f"--chdir={wanted.workdir}",
            *nodes.format(num_nodes=wanted.num_nodes).split(),
            f"--time={wanted.wall_time_min}",
            "--requeue" if form.rerunnable else "--no-requeue",
            *(WHOLE_NODES if form.always is None else form.always),
            *([f"{queue}={wanted.queue}"] if queue and wanted.queue else []),
            *([f"{project}={wanted.project}"] if project and wanted.project else []),
        ]
        return Call((*words, str(wanted.script)), exports=True)

    def read_submission(self, done: Done) -> Submitting:
        scheduler_id = parse_id(done.stdout)
        if scheduler_id and (done.returncode == 0 or done.returncode is None):
            return Submitted(scheduler_id)
        if done.returncode is None or done.returncode <= 0:
            return Unsure(done.sentence)
        if any(words in done.stderr for words in UNCERTAIN):
            return Unsure(done.sentence)
        if any(words in done.stderr for words in PASSING):
            return Later(done.sentence)
        return Declined(done.sentence) if done.stderr.strip() else Unsure(done.sentence)

    def look(self, user: str) -> Sequence[Call]:
        return [
            Call(("squeue", "--noheader", "--all", f"--user={user}", "--states=all", f"--format={LISTED}"))
        ]

    def details(self, listed: Sequence[Done], recorded: bool) -> Sequence[Call]:
        return []

    def read_look(self, answers: Sequence[Done]) -> QueueView:
        [done] = answers
        lines = done.stdout.split("\n")
        whole, rest = lines[:-1], lines[-1]
        found: list[Allocation] = []
        unreadable = [rest] if rest else []  # cut in its midst
        for line in whole:
            if "|" not in line:
                continue  # a site's plug-in says something, or a job's name goes on
            allocation = _listed(line)
            if allocation is None:
                unreadable.append(line)
            else:
                found.append(allocation)
        trouble = "" if done.returncode == 0 else done.sentence
        if unreadable and not trouble:
            trouble = f"squeue printed what can't be read: {unreadable[0][:200]!r}"
        return QueueView(tuple(found), not trouble, 0, trouble, tuple(unreadable))

    def account(self, ids: Sequence[str]) -> Sequence[Call]:
        parts = [ids[start : start + MOST_IDS] for start in range(0, len(ids), MOST_IDS)]
        return [_sacct(f"--jobs={','.join(part)}") for part in parts]

    def search(self, labels: Sequence[str], since_us: int) -> Sequence[Call]:
        since = datetime.fromtimestamp(since_us / 1e6, UTC).astimezone()
        start = f"--starttime={since:%Y-%m-%dT%H:%M:%S}"
        parts = [labels[start : start + MOST_IDS] for start in range(0, len(labels), MOST_IDS)]
        return [_sacct(f"--name={','.join(part)}", start) for part in parts]

    def read_account(self, answers: Sequence[Done]) -> tuple[list[Allocation], str, bool]:
        lives: list[Allocation] = []
        trouble, kept = "", True
        for done in answers:
            if any(words in done.stderr for words in NO_ACCOUNTING):
                kept = False
            elif done.returncode != 0:
                trouble = done.sentence
            else:
                lines = done.stdout.split("\n")[:-1]
                lives += [life for line in lines if (life := _recorded(line, _user_name)) is not None]
        return lives, trouble, kept

    def delete(self, allocation: Allocation, politely: bool) -> Call:
        """Politely the script alone is signalled: its launcher ends the runs in good order."""
        tone = ("--batch", "--signal=TERM") if politely else ()
        return Call(("scancel", *tone, allocation.scheduler_id))

    def read_deletion(self, done: Done) -> str:
        if done.returncode == 0 or any(words in done.stderr for words in GONE):
            return ""
        return done.sentence


def parse_id(text: str) -> str:
    """From what `sbatch --parsable` prints, `20` or `20;cluster`: 20. Empty where there is no id.

    A line that was cut in its midst would hold another id than the one that was given.
    """
    for line in text.split("\n")[:-1]:
        number, _, cluster = line.strip().partition(";")
        if number.isascii() and number.isdecimal() and all(c.isalnum() or c in "-_." for c in cluster):
            return number
    return ""


def end_of_allocation(environ: Mapping[str, str]) -> float | Call | None:
    """When the allocation of this process ends (seconds since 1970), or the command that tells; else None."""
    told = environ.get("SLURM_JOB_END_TIME", "")
    if told.isdecimal() and int(told):
        return float(told)
    job = environ.get("SLURM_JOB_ID", "")
    return Call(("squeue", "--noheader", f"--jobs={job}", "--format=%e")) if job.isdecimal() else None


def read_end(done: Done) -> float | None:
    """From the answer to that command; None where it has no end, or does not say."""
    text = done.stdout.strip()
    return float(text) if done.returncode == 0 and text.isdecimal() else None


def _pattern(path: str) -> str:
    """A path in which Slurm finds nothing to fill in. It takes a backslash to mean that as a whole."""
    return path.replace("%", "%%")


def _sacct(*choice: str) -> Call:
    return Call(
        (
            "sacct",
            "--allocations",
            "--noheader",
            "--parsable2",
            "--duplicates",
            f"--format={RECORDED}",
            *choice,
        )
    )


def _listed(line: str) -> Allocation | None:
    """One line of squeue; None where it is no such line."""
    parts = line.split("|", 10)
    if len(parts) != 11 or not parts[0].isdecimal() or not parts[7].isdecimal():
        return None
    number, shown, word, reason, start, end, submit, count, nodes, queue, name = parts
    times = [_time(text) for text in (start, end, submit)]
    if any(moment is False for moment in times) or not times[2] or not shown[:1].isdecimal():
        return None  # one that was never submitted is none
    start_us, end_us, submit_us = (moment or None for moment in times)
    meaning = meaning_of(word)
    waits = meaning.state is AllocationState.queued
    ended = meaning.state is AllocationState.ended
    return Allocation(
        scheduler_id=number,
        label=name,
        state=meaning.state,
        start_us=None if waits else start_us,
        end_us=end_us if ended else None,
        cause=_cause(word, "", nodes, _nobody) if ended else None,
        reason=in_words(reason) if waits else "",
        never=waits and never_starts(reason),
        queue=queue,
        num_nodes=int(count),
        nodes="" if nodes in _NO_NODES else nodes,
        submit_us=submit_us,
        expected_start_us=start_us if waits else None,
    )


def _recorded(line: str, name_of: Callable[[str], str]) -> Allocation | None:
    """One line of sacct; None where it is no such line."""
    parts = line.split("|", 8)
    if len(parts) != 9 or not parts[0].isdecimal():
        return None
    number, word, code, _reason, submit, start, end, nodes, label = parts
    times = [_time(text) for text in (submit, start, end)]
    if any(moment is False for moment in times):
        return None
    submit_us, start_us, end_us = (moment or None for moment in times)
    meaning = meaning_of(word)
    # In accounting this is the end of a life, of which another follows.
    over = meaning.state is AllocationState.ended or word == "REQUEUED"
    return Allocation(
        scheduler_id=number,
        label=label,
        state=AllocationState.ended if over else meaning.state,
        start_us=start_us,
        end_us=end_us if over else None,
        cause=_cause(word, code, nodes, name_of) if over else None,
        nodes="" if nodes in _NO_NODES else nodes,
        submit_us=submit_us,
    )


def _cause(word: str, code: str, nodes: str, name_of: Callable[[str], str]) -> str:
    """Why an allocation ended whose state is `word`; `code` is `exit code:signal`, empty where not known."""
    if word == "REQUEUED":
        return EndOf.requeued()
    cause = meaning_of(word).cause
    if cause is EndOf.exit:
        return _exit(word, code)
    if cause is EndOf.node:
        return EndOf.node("" if nodes in _NO_NODES else nodes)
    if cause is EndOf.cancelled:
        by = word.partition(" by ")[2]
        return EndOf.cancelled(f"by {name_of(by)}" if by else "")
    if cause is EndOf.no_start:
        return EndOf.no_start(word)
    return EndOf.wall_time("its deadline") if word == "DEADLINE" else (cause or EndOf.lost)()


def _exit(word: str, code: str) -> str:
    number, _, signal = code.partition(":")
    if signal not in ("", "0"):
        return f"{EndOf.signal} {signal}"
    if word == "COMPLETED":
        return "exit 0"
    # Without a code it is at least known that it was not 0.
    return f"exit {number}" if number not in ("", "0") else EndOf.exit("with an error")


def _time(text: str) -> int | bool | None:
    """Microseconds since 1970; None where there is none; False where this is no time."""
    if text.isascii() and text.isdecimal():
        return int(text) * 1_000_000 or None
    return None if text in ("N/A", "NONE", "None", "Unknown", "") else False


def _user_name(number: str) -> str:
    try:
        return pwd.getpwuid(int(number)).pw_name
    except (KeyError, ValueError, OverflowError):
        return f"user {number}"


def _nobody(_: str) -> str:
    return ""
