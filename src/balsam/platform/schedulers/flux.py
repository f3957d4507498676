"""Flux 0.88: words of its commands, readers of their outputs.

Ids are numbers of 64 bits, which `flux batch` alone prints in letters. Listings are asked for in a format of
our own with times in seconds since 1970; names and notes, which may hold anything, are last.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from balsam.platform.schedulers.allocation import (
    Allocation,
    AllocationState,
    Declined,
    QueueView,
    Submission,
    Submitted,
    Submitting,
    Unsure,
)
from balsam.platform.schedulers.batch_system import SubmitForm
from balsam.platform.schedulers.commands import Call, Done, Surroundings
from balsam.platform.schedulers.flux_words import DECLINED, GONE, HELD, STATES, cause_of

# FLUX_URI says which instance is asked, and stays.
SURROUNDINGS = Surroundings(
    hidden=("FLUX_JOB", "FLUX_TASK", "FLUX_ENCLOSING_ID", "FLUX_TERMINUS", "FLUX_KVS_NAMESPACE", "PMI_"),
)
_FIELDS = (
    *("id.dec", "state", "result", "returncode", "t_submit", "t_run", "t_cleanup", "nnodes", "nodelist"),
    *("queue", "urgency", "exception.type", "dependencies", "annotations", "name", "exception.note"),
)
LISTED = "|".join(f"{{{name}}}" for name in _FIELDS)
MOST_LISTED = 1_000  # what `flux jobs` shows by itself
MOST_IDS = 200  # on one command line
WHOLE_NODES = ("--exclusive",)
NO_LIMIT = 2**32 - 1
_LETTERS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@dataclass(frozen=True)
class Flux:
    """`form`: how this machine wants to be asked."""

    form: SubmitForm = field(default_factory=SubmitForm)

    @property
    def surroundings(self) -> Surroundings:
        return SURROUNDINGS

    def submit(self, submission: Submission) -> Call:
        form, wanted = self.form, submission
        queue = "--queue" if form.queue_option is None else form.queue_option
        project = "--bank" if form.project_option is None else form.project_option
        nodes = form.nodes or "--nodes={num_nodes}"
        words = [
            *("flux", "batch", f"--job-name={wanted.label}", f"--output={wanted.output}"),
            *(f"--cwd={wanted.workdir}", *nodes.format(num_nodes=wanted.num_nodes).split()),
            f"--time-limit={wanted.wall_time_min}m",
            *(WHOLE_NODES if form.always is None else form.always),
            *([f"{queue}={wanted.queue}"] if queue and wanted.queue else []),
            *([f"{project}={wanted.project}"] if project and wanted.project else []),
        ]
        return Call((*words, str(wanted.script)), exports=True)

    def read_submission(self, done: Done) -> Submitting:
        """What is said in other words than those known may be said after it was taken."""
        if (scheduler_id := parse_id(done.stdout)) and done.returncode in (0, None):
            return Submitted(scheduler_id)
        refused = done.returncode and done.returncode > 0 and any(w in done.stderr for w in DECLINED)
        return Declined(done.sentence) if refused else Unsure(done.sentence)

    def look(self, user: str) -> Sequence[Call]:
        """The user's own, which is whom `flux jobs` shows, and those that have not ended."""
        return [_jobs()]

    def details(self, listed: Sequence[Done], recorded: bool) -> Sequence[Call]:
        return []

    def read_look(self, answers: Sequence[Done]) -> QueueView:
        [done] = answers
        found, unreadable = _read(done)
        trouble = "" if done.returncode == 0 else done.sentence
        if unreadable and not trouble:
            trouble = f"flux jobs printed what can't be read: {unreadable[0][:200]!r}"
        if len(found) >= MOST_LISTED and not trouble:
            trouble = f"flux jobs shows no more than {MOST_LISTED}, and there may be more"
        return QueueView(tuple(found), not trouble, 0, trouble, tuple(unreadable))

    def account(self, ids: Sequence[str]) -> Sequence[Call]:
        parts = [ids[start : start + MOST_IDS] for start in range(0, len(ids), MOST_IDS)]
        return [_jobs(*part) for part in parts]

    def search(self, labels: Sequence[str], since_us: int) -> Sequence[Call]:
        """Those that ended last are in it first."""
        return [_jobs("-a")]

    def read_account(self, answers: Sequence[Done]) -> tuple[list[Allocation], str, bool]:
        """An id that Flux does not know (any more) is told on the side, and is no failure."""
        failed = next((done.sentence for done in answers if done.returncode != 0), "")
        return [life for done in answers for life in _read(done)[0]], failed, True

    def delete(self, allocation: Allocation, politely: bool) -> Call:
        """There is one way to ask for its end; what Flux does then is polite."""
        return Call(("flux", "cancel", allocation.scheduler_id))

    def read_deletion(self, done: Done) -> str:
        if done.returncode == 0 or any(words in done.stderr for words in GONE):
            return ""
        return done.sentence


def parse_id(text: str) -> str:
    """From what `flux batch` prints, `ƒ2cruXoD` or `f2cruXoD`: its number. Empty where there is no line."""
    for line in text.split("\n")[:-1]:
        letters = line.strip()[1:]
        if line.strip()[:1] in ("ƒ", "f") and letters and all(letter in _LETTERS for letter in letters):
            number = 0
            for letter in letters:
                number = number * len(_LETTERS) + _LETTERS.index(letter)
            if number < 2**64:
                return str(number)
    return ""


def end_of_allocation(environ: Mapping[str, str]) -> float | Call | None:
    """The command that tells; None where this process is in no allocation of Flux."""
    return Call(("flux", "job", "timeleft")) if environ.get("FLUX_ENCLOSING_ID") else None


def read_end(done: Done) -> float | None:
    """From the answer to that command, which counts from now; None where it has no end."""
    text = done.stdout.strip()
    if done.returncode != 0 or not (text.isascii() and text.isdecimal()) or int(text) >= NO_LIMIT:
        return None
    return time.time() + int(text)


def _jobs(*words: str) -> Call:
    return Call(("flux", "jobs", "-n", "-o", LISTED, *words))


def _read(done: Done) -> tuple[list[Allocation], list[str]]:
    *lines, rest = done.stdout.split("\n")
    found: list[Allocation] = []
    unreadable = [rest] if rest else []  # cut in its midst
    for line in lines:
        allocation = _listed(line)
        if allocation is not None:
            found.append(allocation)
        elif "|" in line:
            unreadable.append(line)
    return found, unreadable


def _listed(line: str) -> Allocation | None:
    parts = line.split("|", len(_FIELDS) - 1)
    if len(parts) != len(_FIELDS):
        return None
    number, word, result, code, submit, start, end, count, nodes, queue, urgency, kind = parts[:12]
    dependencies, annotations, label, note = parts[12:]
    times = [_time(text) for text in (submit, start, end)]
    if not (number.isascii() and number.isdecimal()) or None in times or not times[0]:
        return None
    submit_us, start_us, end_us = (moment or None for moment in times)
    state = STATES.get(word, AllocationState.unknown)
    waits, ended = state is AllocationState.queued, state is AllocationState.ended
    held = waits and urgency == "0"
    reason = HELD if held else f"it waits for {dependencies}" if waits and dependencies else ""
    return Allocation(
        scheduler_id=number,
        label=label,
        state=state,
        start_us=None if waits else start_us,
        end_us=end_us if ended else None,
        cause=cause_of(result, code, kind, note, start_us is not None) if ended else None,
        reason=reason,
        never=held,
        queue=queue,
        num_nodes=int(count) if count.isascii() and count.isdecimal() else None,
        nodes=nodes,
        submit_us=submit_us,
        expected_start_us=_estimate(annotations) if waits else None,
    )


def _time(text: str) -> int | None:
    """Microseconds since 1970; 0 where there is none yet; None where this is no time."""
    whole, _, part = text.partition(".")
    if not (whole.isascii() and whole.isdecimal()) or (part and not (part.isascii() and part.isdecimal())):
        return None
    return int(whole) * 1_000_000 + int(f"{part[:6]:0<6}")


def _estimate(annotations: str) -> int | None:
    try:
        told = json.loads(annotations)["sched"]["t_estimate"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return int(told * 1e6) if isinstance(told, int | float) and 0 < told < 1e11 else None
