"""What Slurm's words mean: states, reasons for waiting, refusals."""

from __future__ import annotations

from dataclasses import dataclass

from balsam.core.allocation_causes import EndOf
from balsam.platform.schedulers.allocation import AllocationState

A = AllocationState


@dataclass(frozen=True)
class Meaning:
    """Of a state's word: where the allocation stands, and why it ended."""

    state: AllocationState
    cause: EndOf | None = None


# Long forms, and flags that squeue shows in their place. `CONFIGURING` waits: its nodes are being started.
STATES = {
    **dict.fromkeys(
        (
            *("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD"),
            *("SPECIAL_EXIT", "POWER_UP_NODE", "EXPEDITING"),
        ),
        Meaning(A.queued),
    ),
    **dict.fromkeys(
        ("RUNNING", "SIGNALING", "STAGE_OUT", "RESIZING", "STOPPED", "SUSPENDED"), Meaning(A.running)
    ),
    "COMPLETING": Meaning(A.ending),
    "COMPLETED": Meaning(A.ended, EndOf.exit),
    "FAILED": Meaning(A.ended, EndOf.exit),
    "CANCELLED": Meaning(A.ended, EndOf.cancelled),
    "REVOKED": Meaning(A.ended, EndOf.cancelled),
    "TIMEOUT": Meaning(A.ended, EndOf.wall_time),
    "DEADLINE": Meaning(A.ended, EndOf.wall_time),
    "OUT_OF_MEMORY": Meaning(A.ended, EndOf.memory),
    "NODE_FAIL": Meaning(A.ended, EndOf.node),
    "PREEMPTED": Meaning(A.ended, EndOf.preempted),
    "BOOT_FAIL": Meaning(A.ended, EndOf.no_start),
    "LAUNCH_FAILED": Meaning(A.ended, EndOf.no_start),
    "RECONFIG_FAIL": Meaning(A.ended, EndOf.no_start),
    "GETENV_FAILED": Meaning(A.ended, EndOf.no_start),
}
UNKNOWN = Meaning(A.unknown)

# Reasons that do not go away by themselves: somebody has to change the allocation or the cluster.
NEVER = frozenset(
    (
        *("PartitionNodeLimit", "PartitionTimeLimit", "PartitionConfig", "PartitionDown"),
        *("PartitionInactive", "AccountNotAllowed", "QOSNotAllowed", "InvalidAccount", "InvalidQOS"),
        *("BadConstraints", "DependencyNeverSatisfied", "JobHeldUser", "JobHeldAdmin"),
        *("JobHoldMaxRequeue", "ReservationDeleted", "QOSJobLimit", "AssociationJobLimit"),
        *("QOSMaxNodePerUserLimit", "QOSMaxWallDurationPerJobLimit", "AssocMaxWallDurationPerJobLimit"),
        *("QOSMaxNodePerJobLimit", "AssocMaxNodePerJobLimit", "QOSMaxCpuPerJobLimit"),
        *("AssocMaxCpuPerJobLimit", "launch failed requeued held"),
    )
)

# What the reasons say, where their words alone do not.
REASONS = {
    "Priority": "others of higher priority wait, too",
    "Resources": "the nodes are not free yet",
    "BeginTime": "its time has not come yet; one that was put back into the queue waits for some minutes",
    "PartitionNodeLimit": "it asks for more nodes than its partition takes, or than are up there",
    "PartitionTimeLimit": "it asks for more time than its partition gives",
    "PartitionDown": "its partition takes no new allocations until an administrator says so",
    "PartitionInactive": "its partition starts nothing until an administrator says so",
    "JobHeldUser": "its owner holds it: `scontrol release ID` lets it go",
    "JobHeldAdmin": "an administrator holds it",
    "launch failed requeued held": "it could not be started and is held: `scontrol release ID` tries again",
    "ReqNodeNotAvail": "nodes that it needs are down, reserved, or kept for maintenance",
    "InvalidAccount": "its project is not known any more",
    "InvalidQOS": "its QOS is not known any more",
    "DependencyNeverSatisfied": "what it waits for has failed",
    "BadConstraints": "no node has what it asks for",
}
NO_REASON = frozenset(("", "None", "(null)", "N/A"))

# In what sbatch says when it has surely taken nothing, and may do so another time. The last but two may also
# mean that the request is too large for a QOS; it then waits, and says so.
PASSING = (
    "Unable to contact slurm controller",
    "Slurm temporarily unable to accept job",
    "Resource temporarily unavailable",
    "Rate limit exceeded",
    "Protocol authentication error",
    "slurm_send_node_msg",
    "Munge encode failed",
    "MaxSubmitJob",
    "MaxJobCount",
    "Job violates accounting/QOS policy",
    "Slurm backup controller in standby mode",
    "Unable to establish configuration source",
    "Could not establish a configuration source",
)
# It may have been taken: the question was sent, and the answer did not come.
UNCERTAIN = (
    "Socket timed out",
    "Zero Bytes were transmitted or received",
    "Unexpected message received",
    "Connection reset by peer",
    "Transport endpoint is not connected",
)
# In what commands say of an allocation that is not there any more.
GONE = ("Invalid job id specified", "Job/step already completing or completed")
# Where accounting is not there at all.
NO_ACCOUNTING = ("Slurm accounting storage is disabled", "accounting_storage/none")


def meaning_of(word: str) -> Meaning:
    """Of `CANCELLED by 1000` as of `CANCELLED`."""
    return STATES.get(word.split(" ")[0].rstrip("+"), UNKNOWN)


def never_starts(reason: str) -> bool:
    return reason.strip("()").split(",")[0] in NEVER


def in_words(reason: str) -> str:
    """The scheduler's own word, and what it says; empty where it gives none."""
    if reason in NO_REASON:
        return ""
    word = reason.strip("()")
    told = REASONS.get(word.split(",")[0])
    return f"{word} ({told})" if told else word
