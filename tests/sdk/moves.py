"""Moves of jobs through the API, as a launcher would report them."""

from __future__ import annotations

from typing import Any

from balsam.api import Job, JobState
from balsam.schemas import serialize, serialize_exception


def finish(job: Job, value: object) -> None:
    """Runs the job to its end, with a value that run() returned."""
    _run_to(job, JobState.run_done, serialized_return_value=serialize(value))


def fail(job: Job, raised: BaseException | None = None, **state_data: Any) -> None:
    """Runs the job into an error: that of run(), or that of a command."""
    given = {} if raised is None else {"serialized_exception": serialize_exception(raised)}
    _run_to(job, JobState.run_error, state_data=state_data, **given)


def _run_to(job: Job, state: JobState, **fields: Any) -> None:
    own = Job.from_row(dict(job._row), job.client())  # as another process has it
    own.state = JobState.running
    own.save()
    own.state = state
    for name, value in fields.items():
        setattr(own, name, value)
    own.save()
