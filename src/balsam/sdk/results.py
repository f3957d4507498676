"""What a job that ended gives back: its value, its exception, or why there is neither."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from balsam.core.states import DONE_STATES, JobState
from balsam.schemas import DeserializeError, deserialize, raise_from_serialized
from balsam.schemas.payloads import MadeElsewhere
from balsam.sdk.events import EventLog

if TYPE_CHECKING:
    from balsam.sdk.jobs import Job


class NoResult(ValueError):
    """The job has no result: it has not ended, its app is a command, or it failed without an exception."""


def outcome(job: Job) -> Any:
    """What the job's `run()` returned; raises what it raised, or NoResult with the job and the reason."""
    if job.state not in DONE_STATES:
        raise NoResult(f"{_named(job)} is {job.state.value} and has no result yet")
    if job.state is JobState.failed:
        if job.serialized_exception:
            raise_from_serialized(job.serialized_exception, _named(job))
        raise NoResult(f"{_named(job)} is FAILED: {_reason(job)}")
    if not job.serialized_return_value:
        raise NoResult(f"{_named(job)} is JOB_FINISHED and returned no value: its output is in job.out")
    return _value(job)


def _value(job: Job) -> Any:
    try:
        return deserialize(job.serialized_return_value)
    except MadeElsewhere as exc:
        raise DeserializeError(
            f"{_named(job)} returned what can't be used here: {exc}. Ask for its result with Python "
            f"{exc.made.python}, or let run() return plain values"
        ) from exc
    except DeserializeError as exc:
        raise DeserializeError(f"what {_named(job)} returned does not open: {exc}") from exc


def _named(job: Job) -> str:
    return f"job {job.id} in {job.workdir}"


def _reason(job: Job) -> str:
    events = EventLog.objects.using(job.client()).filter(job_id=job.id)[:5]
    told = (_told(event.data) for event in events)
    return next((text for text in told if text), "its events give no reason; see job.out in its workdir")


def _told(data: dict[str, Any]) -> str:
    code, error = data.get("returncode"), data.get("error") or data.get("message") or data.get("reason")
    parts = [f"return code {code}"] if code is not None else []
    if error:
        parts.append(str(error).strip())
    return "; ".join(parts)
