"""Which hook a job waits for, and what its answer means for the job. Values in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from balsam.core.clock import naive_text, now_us
from balsam.core.failure_text import telling_line
from balsam.core.states import HOOK_OF_STATE, STATE_AFTER_DEFAULT_HOOK, JobState, may_report
from balsam.runtime.requests import AppCode, Kind, Reply, Request
from balsam.site.wire_text import storable

Record = Mapping[str, Any]


def state_of(job: Record) -> JobState:
    return JobState(job["state"])


def hook_of(job: Record) -> Kind:
    """The hook that a job in one of the four waiting states waits for."""
    return Kind(HOOK_OF_STATE[state_of(job)])


def needs_worker(job: Record, app: Record) -> bool:
    """Whether user code is to be called: an app that lists its hooks says which it has."""
    return app["hooks"] is None or hook_of(job) in app["hooks"]


def request_for(job: Record, app: Record, data_path: Path, session_id: int | None) -> Request:
    """The hook as a worker is asked to run it."""
    code = AppCode.of_record(app)
    return Request(
        kind=hook_of(job),
        app=code,
        job=job,
        workdir=str(data_path / job["workdir"]),
        session_id=session_id,
        interpreter=code.interpreter,
        fresh=bool(app["isolate"]),
    )


def default_outcome(job: Record, at_us: int) -> dict[str, Any]:
    """The update of a job whose app has no such hook."""
    return _update(job, STATE_AFTER_DEFAULT_HOOK[state_of(job)], {}, at_us)


def outcome(job: Record, reply: Reply, offset_us: int = 0) -> dict[str, Any]:
    """The update that a worker's reply means: fields that the hook changed, and where the job goes.

    `offset_us`: how far the server's clock is ahead of this host's.
    """
    hook = f"{hook_of(job)}()"
    at_us = (reply.ended_us or now_us()) + offset_us
    if not reply.ok:
        failed = failure(job, f"{hook} failed", reply.error, at_us)
        if reply.serialized_exception and state_of(job) is not JobState.run_error:
            failed["serialized_exception"] = reply.serialized_exception
        return failed
    changes = dict(reply.changes)
    chosen = changes.pop("state", None)
    data = changes.pop("state_data", None) or {}
    state = STATE_AFTER_DEFAULT_HOOK[state_of(job)] if chosen is None else JobState(chosen)
    if not may_report(state_of(job), state):
        reason = f"{hook} set job.state to {state}, and a job that is {state_of(job)} can't go there"
        return failure(job, reason, "", at_us)
    return {**changes, **_update(job, state, data, at_us)}


def failure(job: Record, message: str, error: str, at_us: int) -> dict[str, Any]:
    """The update of a job that fails here, with a sentence and the end of a traceback."""
    data = {"message": storable(message)}
    if error:
        data["error"] = data["exception"] = storable(error)  # by its name of 0.7, too
    return _update(job, JobState.failed, data, at_us)


def killed(job: Record, by: str, at_us: int) -> dict[str, Any]:
    """The update of a job that a user killed while its hook ran."""
    return _update(job, JobState.failed, {"message": f"killed by {by}", "killed": True}, at_us)


def reason_of_failure(update: Record) -> str | None:
    """One line on why an update fails its job; None if it does not, or if the hook chose so itself."""
    data = update["state_data"]
    if update["state"] is not JobState.failed or "message" not in data:
        return None
    line = telling_line(data.get("error", ""))
    return ": ".join([data["message"], *([line] if line else [])])


def _update(job: Record, state: JobState, data: Mapping[str, Any], at_us: int) -> dict[str, Any]:
    return {
        "id": job["id"],
        "state": state,
        "state_timestamp": naive_text(at_us),
        "state_data": dict(data),
    }
