"""Which moves follow which, as values: no database here.

A request asks for one new state; the server then makes every further move that needs nobody ("no hop that
does nothing"). `walk` gives all of them, as the events to be written.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from balsam.core.plural import counted
from balsam.core.states import (
    DONE_STATES,
    HOOK_OF_STATE,
    STATE_AFTER_DEFAULT_HOOK,
    JobState,
    may_report,
)

J = JobState


@dataclass(frozen=True, slots=True)
class Situation:
    """What decides a job's moves. `hooks` None: an old client made the app, so every hook may exist.

    `killed_by`: who has killed it, which its holder may not know yet.
    """

    hooks: frozenset[str] | None
    stages_in: bool
    stages_out: bool
    num_runs: int
    max_restarts: int
    killed_by: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One event to be: the state entered, and what its `data` holds."""

    state: JobState
    data: dict[str, Any]


# As published, a state that is only passed through has no event of its own.
_PASSED_THROUGH = {
    (J.ready, J.staged_in),
    (J.postprocessed, J.job_finished),
    (J.staged_out, J.job_finished),
}


def walk(
    new: JobState, data: dict[str, Any], situation: Situation, old: JobState | None = None
) -> list[Step]:
    """The steps from being asked to enter `new` until the job waits for somebody or is done.

    `old`: where it stands; no event leads from a state to the same.
    """
    s = situation
    if new in _HAND_DATA_ON or s.killed_by or s.num_runs > s.max_restarts:
        return _walk(new, data, s, old)
    return [Step(new, data), *_after(new, s.hooks, s.stages_in, s.stages_out)]


# What follows these depends on the data that came with them; else it is the same for jobs by the million.
_HAND_DATA_ON = frozenset({J.ready, J.run_error, J.postprocessed, J.staged_out})


@lru_cache(maxsize=4096)
def _after(
    new: JobState, hooks: frozenset[str] | None, stages_in: bool, stages_out: bool
) -> tuple[Step, ...]:
    return tuple(_walk(new, {}, Situation(hooks, stages_in, stages_out, 0, 0))[1:])


def _walk(
    new: JobState, data: dict[str, Any], situation: Situation, old: JobState | None = None
) -> list[Step]:
    steps = [Step(new, data)]
    while (following := _next(steps[-1], situation)) is not None:
        goes_back = len(steps) == 1 and following.state is old
        if (steps[-1].state, following.state) in _PASSED_THROUGH and not goes_back:
            passed = steps.pop()
            following = Step(following.state, {**passed.data, **following.data})
        steps.append(following)
    return steps


def _next(last: Step, s: Situation) -> Step | None:
    if last.state in _HAS_FAILED_TO_RUN and _is_killed(last, s):
        return Step(J.failed, {**_reason(last), **_killed(last, s)})
    following = _unkilled_next(last, s)
    if following is None and s.killed_by and last.state not in DONE_STATES and last.state is not J.running:
        return Step(J.failed, _killed(last, s))  # where it would wait for somebody, its road ends
    return following


_HAS_FAILED_TO_RUN = frozenset({J.run_error, J.run_timeout})


def _is_killed(last: Step, s: Situation) -> bool:
    return s.killed_by is not None or (last.state is J.run_error and bool(last.data.get("killed")))


def _killed(last: Step, s: Situation) -> dict[str, Any]:
    return killed_data(s.killed_by or last.data.get("by"))


def killed_data(by: object) -> dict[str, Any]:
    """What the event of a killed job's end holds."""
    return {"message": f"killed by {by}" if by else "killed", "killed": True}


def _unkilled_next(last: Step, s: Situation) -> Step | None:
    if last.state is J.ready and not s.stages_in:
        return Step(J.staged_in, {"message": "Skipped stage in"})
    if last.state is J.restart_ready and s.num_runs > s.max_restarts:
        return Step(
            J.failed, {"message": f"ran {counted(s.num_runs, 'time')}: max_restarts is {s.max_restarts}"}
        )
    if last.state is J.postprocessed and not s.stages_out:
        return Step(J.job_finished, {"message": "Skipped stage out"})
    if last.state is J.staged_out:
        return Step(J.job_finished, {})
    return _default_hook(last, s)


def _default_hook(last: Step, s: Situation) -> Step | None:
    hook = HOOK_OF_STATE.get(last.state)
    if hook is None:
        return None
    if s.hooks is None or hook in s.hooks:
        return None
    data = _reason(last) if last.state is J.run_error else {}
    return Step(STATE_AFTER_DEFAULT_HOOK[last.state], data)


def _reason(run_error: Step) -> dict[str, Any]:
    """FAILED tells why by itself, so that nobody has to look for the event before it."""
    return {key: run_error.data[key] for key in ("returncode", "error", "reason") if key in run_error.data}


def first_state(parents_done: bool, stages_in: bool) -> JobState:
    """Where a new job goes from CREATED."""
    if not parents_done:
        return J.awaiting_parents
    return J.ready if stages_in else J.staged_in


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks for a change: `holder_fenced` is None where no live session holds the job.

    `may_force`: a user does, who may set any state of what nobody holds; a site's token may not.
    """

    holder: int | None
    holder_fenced: bool | None
    session_id: int | None
    may_force: bool = True


def fenced_off(job_id: int, request: Request) -> str | None:
    """Why a request that names a session may change nothing at all, or None.

    A launcher that was frozen must not even repeat a state or overwrite a result.
    """
    if request.session_id is None or request.session_id == request.holder:
        return None
    if request.holder is None:
        return f"session {request.session_id} does not hold job {job_id}"
    return f"job {job_id} is held by session {request.holder}, not by session {request.session_id}"


def refusal(job_id: int, old: JobState, new: JobState, request: Request) -> str | None:
    """Why the fence or the table forbids the move to another state, or None."""
    if request.holder_fenced and request.session_id is None:
        return f"job {job_id} is held by session {request.holder}; only that session may change its state"
    may_force = request.holder is None and request.may_force
    if not may_force and not may_report(old, new):
        return f"job {job_id} is {old}: it can't go to {new}"
    return None
