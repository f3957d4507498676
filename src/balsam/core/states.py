"""The life of a Job, a BatchJob and a TransferItem as tables. The server is the only judge of moves."""

import itertools
from enum import StrEnum


class JobState(StrEnum):
    """Where a Job stands; `MOVES` says where it may go from there."""

    created = "CREATED"
    awaiting_parents = "AWAITING_PARENTS"
    ready = "READY"
    staged_in = "STAGED_IN"
    preprocessed = "PREPROCESSED"
    running = "RUNNING"
    run_done = "RUN_DONE"
    run_error = "RUN_ERROR"
    run_timeout = "RUN_TIMEOUT"
    restart_ready = "RESTART_READY"
    postprocessed = "POSTPROCESSED"
    staged_out = "STAGED_OUT"
    job_finished = "JOB_FINISHED"
    failed = "FAILED"

    @classmethod
    def is_valid(cls, state: object) -> bool:
        """Whether there is a state of this name."""
        return state in cls._value2member_map_


class BatchJobState(StrEnum):
    """Where an allocation stands."""

    pending_submission = "pending_submission"
    queued = "queued"
    running = "running"
    finished = "finished"
    submit_failed = "submit_failed"
    pending_deletion = "pending_deletion"


class TransferItemState(StrEnum):
    """Where a file transfer stands."""

    awaiting_job = "awaiting_job"
    pending = "pending"
    active = "active"
    inactive = "inactive"
    done = "done"
    error = "error"


class TransferDirection(StrEnum):
    """Into the job's workdir, or out of it."""

    stage_in = "in"
    stage_out = "out"


class JobMode(StrEnum):
    """How a launcher runs jobs: many single-process jobs by workers, or each by an MPI launcher."""

    serial = "serial"
    mpi = "mpi"


class ParentsMust(StrEnum):
    """When a parent counts as done: only JOB_FINISHED (`finish`, as published), or FAILED too (`end`)."""

    finish = "finish"
    end = "end"


J = JobState

DONE_STATES = frozenset({J.job_finished, J.failed})
RUNNABLE_STATES = frozenset({J.preprocessed, J.restart_ready})
RUN_END_STATES = frozenset({J.run_done, J.run_error, J.run_timeout})
# States in which a job waits for the agent's hooks, and the hook that each waits for.
HOOK_OF_STATE = {
    J.staged_in: "preprocess",
    J.run_done: "postprocess",
    J.run_error: "handle_error",
    J.run_timeout: "handle_timeout",
}
# Where a job goes when its app does not override the hook.
STATE_AFTER_DEFAULT_HOOK = {
    J.staged_in: J.preprocessed,
    J.run_done: J.postprocessed,
    J.run_error: J.failed,
    J.run_timeout: J.restart_ready,
}
ACTIVE_BATCH_JOB_STATES = frozenset(
    {
        BatchJobState.pending_submission,
        BatchJobState.queued,
        BatchJobState.running,
        BatchJobState.pending_deletion,
    }
)
ENDED_BATCH_JOB_STATES = frozenset({BatchJobState.finished, BatchJobState.submit_failed})

# What an agent, a launcher or a transfer service may report of a job that its session holds.
REPORTED_MOVES: dict[JobState, frozenset[JobState]] = {
    J.ready: frozenset({J.staged_in, J.failed}),
    J.staged_in: frozenset({J.preprocessed, J.failed}),
    J.preprocessed: frozenset({J.running, J.failed}),
    J.restart_ready: frozenset({J.running, J.failed}),
    J.running: frozenset({J.run_done, J.run_error, J.run_timeout}),
    J.run_done: frozenset({J.postprocessed, J.failed, J.restart_ready}),
    J.run_error: frozenset({J.failed, J.restart_ready}),
    J.run_timeout: frozenset({J.restart_ready, J.failed}),
    J.postprocessed: frozenset({J.staged_out, J.failed}),
}
# What the server does by itself; every other waiting state may go to FAILED by `kill`.
SERVER_MOVES: dict[JobState, frozenset[JobState]] = {
    J.created: frozenset({J.awaiting_parents, J.ready, J.staged_in}),
    J.awaiting_parents: frozenset({J.ready, J.staged_in}),
    J.run_done: frozenset({J.job_finished}),
    J.postprocessed: frozenset({J.job_finished}),
    J.staged_out: frozenset({J.job_finished}),
}
# Every legal event: the union of the two tables, and FAILED from any state that waits.
MOVES: dict[JobState, frozenset[JobState]] = {
    state: (
        REPORTED_MOVES.get(state, frozenset())
        | SERVER_MOVES.get(state, frozenset())
        | (frozenset() if state in DONE_STATES or state is J.running else frozenset({J.failed}))
    )
    for state in JobState
}


def may_report(old: JobState, new: JobState) -> bool:
    """Whether the holder of a job may report this move."""
    return new in REPORTED_MOVES.get(old, frozenset())


def retried(num_runs: int) -> JobState:
    """Where a job that failed goes on when it is tried once more.

    It runs anew; where it has never run, it begins again with waiting for its parents.
    """
    return J.restart_ready if num_runs else J.awaiting_parents


def is_legal_walk(states: list[JobState]) -> bool:
    """Whether a job's states, oldest first, follow `MOVES` from each to the next."""
    return all(new in MOVES[old] for old, new in itertools.pairwise(states))
