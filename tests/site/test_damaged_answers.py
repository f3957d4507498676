"""Whatever becomes of a batch system's answers on their way: nothing ends by it, and nothing begins twice."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from balsam.core.states import BatchJobState
from balsam.platform.schedulers.allocation import Records
from balsam.platform.schedulers.batch_system import BatchScheduler
from balsam.platform.schedulers.commands import Call, CommandLine, Done
from balsam.platform.schedulers.slurm import Slurm
from balsam.site.allocation_reports import Report
from balsam.site.ledger import Step
from balsam.site.queue_decisions import LOST_LOOKS, LOST_SEC, Action, Delete, Submit, decide, orphans
from balsam.site.queue_scene import Memory, observe, to_account, to_search
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
LISTED = f"""\
3|3|RUNNING|None|1|3600|1|2|nid[0001-0002]|q|{LABELS.of(7)}
5|5|PENDING|Priority|N/A|N/A|2|1||q|somebody | else's
4|4|PENDING|Resources|700|4300|1|1||q|{LABELS.of(8)}
6|6|RUNNING|None|1|3600|1|1|nid0003|q|{LABELS.of(9)}
"""
RECORDED = f"""\
3|RUNNING|0:0|None|1|1|Unknown|nid[0001-0002]|{LABELS.of(7)}
4|PENDING|0:0|None|1|Unknown|Unknown|None assigned|{LABELS.of(8)}
6|RUNNING|0:0|None|1|1|Unknown|nid0003|{LABELS.of(9)}
"""
# 9 was submitted, and its answer was lost.
BATCH_JOBS = [
    seen(),
    seen(S.queued, id=8, scheduler_id=4, scheduler_id_text="4", start_time=None),
    batch_job(9),
]
ENTRIES = {
    7: SUBMITTED,
    8: replace(SUBMITTED, batch_job_id=8, label=LABELS.of(8), scheduler_id="4"),
    9: replace(BEGUN, batch_job_id=9, label=LABELS.of(9), step=Step.unsure),
}


class Answers:
    """In place of a CommandLine: what each command prints."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts

    def run(self, call: Call) -> Done:
        return Done(0, self._texts[call.words[0]])


def looks(listed: str, recorded: str, times: int) -> list[Action]:
    """What is decided in so many looks in a row, all damaged the same."""
    answers = cast(CommandLine, Answers({"squeue": listed, "sacct": recorded}))
    scheduler = BatchScheduler(Slurm(), answers, "me")
    memory = Memory()
    actions: list[Action] = []
    for look in range(times):
        now = 1_000.0 + look * (LOST_SEC - 1) / max(1, times - 1)
        view = replace(scheduler.look(), taken_at=NOW_US)
        known = scene(BATCH_JOBS, entries=ENTRIES, view=view)
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


@given(places, st.integers(0, 500), noises, st.integers(1, LOST_LOOKS - 1))
def test_a_damaged_listing_ends_nothing_and_repeats_nothing(
    at: float, cut: int, noise: str, times: int
) -> None:
    """Kind: damage in an answer is taken for news."""
    actions = looks(damaged(LISTED, at, cut, noise), RECORDED, times)
    assert not ends(actions)
    # Accounting knows it, whatever the listing shows.
    assert not [action for action in actions if isinstance(action, Submit)]


@given(places, st.integers(0, 500), noises)
def test_damaged_accounting_ends_nothing_that_is_listed(at: float, cut: int, noise: str) -> None:
    actions = looks(LISTED, damaged(RECORDED, at, cut, noise), 5)
    assert not ends(actions) and not [action for action in actions if isinstance(action, Submit)]


@given(places, places)
def test_two_answers_cut_in_their_midst_end_nothing(first: float, second: float) -> None:
    listed, recorded = (text[: int(at * len(text))] for text, at in ((LISTED, first), (RECORDED, second)))
    assert not ends(looks(listed, recorded, LOST_LOOKS - 1))


def test_undamaged_answers_are_followed() -> None:
    actions = looks(LISTED, RECORDED, 1)
    told = {a.batch_job_id: a.changes for a in actions if isinstance(a, Report)}
    assert told[9]["scheduler_id"] == 6 and told[9]["state"] is S.running
    assert not ends(actions)
