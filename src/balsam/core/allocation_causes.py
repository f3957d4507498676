"""Why allocations end: the words with which the `cause` of a BatchJob begins, for programs and people alike.

After a colon may follow what is known beyond that: `node failure: nid0008`. A script that ended by itself has
`exit 0`, `exit 1` or `killed by signal 9`.
"""

from enum import StrEnum


class EndOf(StrEnum):
    """The first words of a cause."""

    exit = "exit"
    signal = "killed by signal"
    wall_time = "walltime"
    deleted = "deleted"  # by whoever may, as the local scheduler tells it
    deleted_by_user = "deleted by user"  # through Balsam
    cancelled = "cancelled outside of Balsam"
    memory = "out of memory"
    node = "node failure"
    preempted = "preempted"
    requeued = "requeued"
    no_start = "failed to start"
    refused = "refused"
    lost = "lost"
    unrecorded = "ended"  # and nobody keeps a record of how

    def __call__(self, more: str = "") -> str:
        """The cause, with what is known beyond its first words."""
        return f"{self.value}: {more}" if more else self.value


# Ends that need no look at the allocation's output.
EXPECTED = (
    "exit 0",
    EndOf.wall_time,
    EndOf.deleted,
    EndOf.preempted,
)
