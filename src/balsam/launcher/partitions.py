"""Several launchers in one allocation, each with its own nodes, mode and tags."""

from __future__ import annotations

import logging
import signal
import subprocess
from collections.abc import Sequence

from balsam.core.plural import counted
from balsam.core.start import command as start_command
from balsam.launcher import ending_signals
from balsam.launcher.orders import Orders, Part, UsageError
from balsam.platform.nodes import Node

log = logging.getLogger(__name__)


def split(nodes: Sequence[Node], parts: Sequence[Part]) -> list[list[Node]]:
    """The nodes of each part, in order; raises UsageError where they are not enough."""
    asked = sum(part.num_nodes for part in parts)
    if asked > len(nodes):
        raise UsageError(
            f"the partitions ask for {counted(asked, 'node')}, and this allocation has {len(nodes)}"
        )
    shares, start = [], 0
    for part in parts:
        shares.append(list(nodes[start : start + part.num_nodes]))
        start += part.num_nodes
    return shares


def command_of(number: int, part: Part, nodes: Sequence[Node], orders: Orders) -> list[str]:
    """The command line of one part's launcher."""
    words = [*start_command("balsam.launcher.main"), "-j", part.mode, "-t", str(orders.wall_time_min)]
    if orders.batch_job_id is not None:
        words += ["--batch-job", str(orders.batch_job_id)]
    words += ["--partition", str(number), "--nodes", ",".join(node.name for node in nodes)]
    for key, value in {**orders.tags, **part.tags}.items():
        words += ["--tag", f"{key}={value}"]
    return words


def run(orders: Orders, nodes: Sequence[Node]) -> int:
    """Starts a launcher for each part, hands signals on to them, and waits for all; the worst exit code."""
    shares = split(nodes, orders.parts)
    children: list[subprocess.Popen[bytes]] = []
    received: list[int] = []

    def hand_on(number: int, _frame: object) -> None:
        received.append(number)
        for child in children:
            child.send_signal(number)

    for number in ending_signals.heeded():
        signal.signal(number, hand_on)
    for place, (part, share) in enumerate(zip(orders.parts, shares, strict=True)):
        command = command_of(place, part, share, orders)
        log.info("partition %d: %s", place, " ".join(command))
        children.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))
        if received:  # before this one was there
            children[-1].send_signal(received[-1])
    return max(abs(child.wait()) for child in children)
