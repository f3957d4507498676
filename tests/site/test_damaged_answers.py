"""Whatever becomes of a batch system's answers on their way: nothing ends by it, and nothing begins twice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.core.states import BatchJobState
from balsam.platform.schedulers.allocation import Records
from balsam.platform.schedulers.batch_system import BatchScheduler, BatchSystem
from balsam.platform.schedulers.commands import Call, CommandLine, Done
from balsam.platform.schedulers.flux import Flux
from balsam.platform.schedulers.lsf import Lsf
from balsam.platform.schedulers.pbs import Pbs
from balsam.platform.schedulers.slurm import Slurm
from balsam.schemas.batch_jobs import BatchJobOut
from balsam.site.allocation_reports import Report
from balsam.site.ledger import LedgerEntry, Step
from balsam.site.queue_decisions import LOST_LOOKS, LOST_SEC, Action, Delete, Submit, decide, orphans
from balsam.site.queue_scene import Memory, observe, to_account, to_search
from tests.platform.pbs_text import shown
from tests.site.test_scheduler_decisions import (
    BEGUN,
    LABELS,
    LIMITS,
    NOW_US,
    SUBMITTED,
    batch_job,
    scene,
    seen,
)

S = BatchJobState


@dataclass(frozen=True)
class Told:
    """The same scene in the words of one batch system: what each command prints."""

    system: BatchSystem
    ids: tuple[str, str, str]  # of the BatchJobs 7, 8 and 9
    listing: dict[str, str]
    accounting: dict[str, str]
    damaged: str  # of the listing, the command whose answer is damaged
    recorded: str


DAY = "Thu Jan  1 01:00:01 1970"
PBS_LIVES = "".join(
    [
        shown("3.pbs1", LABELS.of(7), "R", stime=DAY, qtime=DAY),
        shown("4.pbs1", LABELS.of(8), "Q", qtime=DAY, comment="Not enough free nodes available"),
        shown("6.pbs1", LABELS.of(9), "R", stime=DAY, qtime=DAY),
    ]
)
FLUX_LIVES = f"""\
3|RUN|||1.0|1.0|0.0|2|vm|q|16||||{LABELS.of(7)}|
5|SCHED|||2.0|0.0|0.0|1||q|16||||somebody | else's|
4|SCHED|||1.0|0.0|0.0|1||q|16||||{LABELS.of(8)}|
6|RUN|||1.0|1.0|0.0|1|vm|q|16||||{LABELS.of(9)}|
"""
LSF_LIVES = f"""\
3|RUN|-|q|2|n1|Jan  1 01:00 1970|Jan  1 02:00 1970 L|Jan  1 01:00 1970|-|{LABELS.of(7)}
5|PEND|-|q|-|-|-|-|Jan  1 01:00 1970|-|somebody | else's
4|PEND|-|q|-|-|-|-|Jan  1 01:00 1970|-|{LABELS.of(8)}
6|RUN|-|q|1|n1|Jan  1 01:00 1970|Jan  1 02:00 1970 L|Jan  1 01:00 1970|-|{LABELS.of(9)}
"""
SLURM_LISTED = f"""\
3|3|RUNNING|None|1|3600|1|2|nid[0001-0002]|q|{LABELS.of(7)}
5|5|PENDING|Priority|N/A|N/A|2|1||q|somebody | else's
4|4|PENDING|Resources|700|4300|1|1||q|{LABELS.of(8)}
6|6|RUNNING|None|1|3600|1|1|nid0003|q|{LABELS.of(9)}
"""
SLURM_RECORDED = f"""\
3|RUNNING|0:0|None|1|1|Unknown|nid[0001-0002]|{LABELS.of(7)}
4|PENDING|0:0|None|1|Unknown|Unknown|None assigned|{LABELS.of(8)}
6|RUNNING|0:0|None|1|1|Unknown|nid0003|{LABELS.of(9)}
"""
NUMBERS = ("3", "4", "6")
# Grid Engine records nothing of what goes on: what its damaged listings may do is in its own tests.
TOLD = {
    "slurm": Told(Slurm(), NUMBERS, {"squeue": SLURM_LISTED}, {"sacct": SLURM_RECORDED}, "squeue", "sacct"),
    "pbs": Told(
        Pbs(),
        ("3.pbs1", "4.pbs1", "6.pbs1"),
        {"qselect": "3.pbs1\n4.pbs1\n6.pbs1\n", "qstat -f": PBS_LIVES},
        {"qselect -x": "3.pbs1\n4.pbs1\n6.pbs1\n", "qstat -xf": PBS_LIVES},
        "qstat -f",
        "qstat -xf",
    ),
    "flux": Told(Flux(), NUMBERS, {"flux": FLUX_LIVES}, {"flux past": FLUX_LIVES}, "flux", "flux past"),
    "lsf": Told(
        Lsf(clock=lambda: NOW_US),
        NUMBERS,
        {"bjobs": LSF_LIVES},
        {"bjobs past": LSF_LIVES},
        "bjobs",
        "bjobs past",
    ),
}
SYSTEMS = pytest.mark.parametrize("system", TOLD)


def key_of(call: Call) -> str:
    """Of the answers above."""
    program, *words = call.words
    if program in ("flux", "bjobs"):
        ids = any(word.isdecimal() for word in words)
        return f"{program} past" if "-a" in words or ids else program
    if program == "qstat":
        return f"{program} {words[0]}"
    return "qselect -x" if program == "qselect" and "-x" in words else program


def batch_jobs(told: Told) -> list[BatchJobOut]:
    """9 was submitted, and its answer was lost."""
    first, second, _ = told.ids
    return [
        seen(scheduler_id=3, scheduler_id_text=first),
        seen(S.queued, id=8, scheduler_id=4, scheduler_id_text=second, start_time=None),
        batch_job(9),
    ]


def entries(told: Told) -> dict[int, LedgerEntry]:
    first, second, _ = told.ids
    return {
        7: replace(SUBMITTED, scheduler_id=first),
        8: replace(SUBMITTED, batch_job_id=8, label=LABELS.of(8), scheduler_id=second),
        9: replace(BEGUN, batch_job_id=9, label=LABELS.of(9), step=Step.unsure),
    }


class Answers:
    """In place of a CommandLine: what each command prints."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts

    def run(self, call: Call) -> Done:
        return Done(0, self._texts[key_of(call)])


def looks(told: Told, listed: str, recorded: str, times: int) -> list[Action]:
    """What is decided in so many looks in a row, all damaged the same."""
    texts = {**told.listing, **told.accounting, told.damaged: listed, told.recorded: recorded}
    scheduler = BatchScheduler(told.system, cast(CommandLine, Answers(texts)), "me")
    memory = Memory()
    actions: list[Action] = []
    for look in range(times):
        now = 1_000.0 + look * (LOST_SEC - 1) / max(1, times - 1)
        view = replace(scheduler.look(), taken_at=NOW_US)
        known = scene(batch_jobs(told), entries=entries(told), view=view)
        observe(known, memory, now)
        asked, wanted = to_account(known, memory, now), to_search(known, memory, now)
        known = replace(
            known,
            records=scheduler.account(asked) if asked else Records(),
            found=scheduler.search(list(wanted), 0) if wanted else Records(),
            asked=frozenset(asked),
            answered=frozenset(wanted),
        )
        actions += [*decide(known, LIMITS, memory, now), *orphans(known, memory, now + 1, now)]
    return actions


def damaged(text: str, at: float, cut: int, noise: str) -> str:
    place = int(at * len(text))
    return text[:place] + noise + text[place + cut :]


def ends(actions: list[Action]) -> list[Action]:
    """What ends a BatchJob, or an allocation."""
    told = [a for a in actions if isinstance(a, Report) and a.changes.get("state") is S.finished]
    return [*told, *(a for a in actions if isinstance(a, Delete))]


places = st.floats(0, 1)
noises = st.text(st.characters(codec="utf-8"), max_size=6)


@SYSTEMS
@given(places, st.integers(0, 500), noises, st.integers(1, LOST_LOOKS - 1))
def test_a_damaged_listing_ends_nothing_and_repeats_nothing(
    system: str, at: float, cut: int, noise: str, times: int
) -> None:
    """Kind: damage in an answer is taken for news."""
    told = TOLD[system]
    listed = damaged(told.listing[told.damaged], at, cut, noise)
    actions = looks(told, listed, told.accounting[told.recorded], times)
    assert not ends(actions)
    # Accounting knows it, whatever the listing shows.
    assert not [action for action in actions if isinstance(action, Submit)]


@SYSTEMS
@given(places, st.integers(0, 500), noises)
def test_damaged_accounting_ends_nothing_that_is_listed(system: str, at: float, cut: int, noise: str) -> None:
    told = TOLD[system]
    recorded = damaged(told.accounting[told.recorded], at, cut, noise)
    actions = looks(told, told.listing[told.damaged], recorded, 5)
    assert not ends(actions) and not [action for action in actions if isinstance(action, Submit)]


@SYSTEMS
@given(places, places)
def test_two_answers_cut_in_their_midst_end_nothing(system: str, first: float, second: float) -> None:
    told = TOLD[system]
    whole = ((told.listing[told.damaged], first), (told.accounting[told.recorded], second))
    listed, recorded = (text[: int(at * len(text))] for text, at in whole)
    assert not ends(looks(told, listed, recorded, LOST_LOOKS - 1))


@SYSTEMS
def test_undamaged_answers_are_followed(system: str) -> None:
    told = TOLD[system]
    actions = looks(told, told.listing[told.damaged], told.accounting[told.recorded], 1)
    changes = {a.batch_job_id: a.changes for a in actions if isinstance(a, Report)}
    assert changes[9]["scheduler_id"] == 6 and changes[9]["state"] is S.running
    assert not ends(actions)
