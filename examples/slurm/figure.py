"""Draws nodes and throughput of a campaign, with the ends of its allocations and their causes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from balsam.analytics import available_nodes, throughput_report, utilization_report
from balsam.api import BatchJob, EventLog
from examples.figure import BLUE, GRAY

CAUSES = {"exit 0": "#4b8b3b", "preempted": "#c0392b", "cancelled": "#d98200"}
OTHER = "#7a4fa3"


def draw(tags: dict[str, str], allocations: Sequence[BatchJob], picture: Path) -> None:
    """Writes a PNG about the jobs with these tags and the allocations that ran them."""
    events = EventLog.objects.filter(tags=tags)
    nodes = available_nodes(BatchJob.objects.filter(filter_tags=tags))
    busy = utilization_report(events, node_weighting=True)
    done = throughput_report(events, to_state="JOB_FINISHED")
    begin = min(times[0] for times, _ in (nodes, busy, done) if times)

    def seconds(times: Sequence[datetime]) -> list[float]:
        return [(time - begin).total_seconds() for time in times]

    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 5), sharex=True, layout="constrained")
    above.step(seconds(nodes[0]), nodes[1], where="post", color=GRAY, linewidth=4, label="available")
    above.step(seconds(busy[0]), busy[1], where="post", color=BLUE, linewidth=1.2, label="busy")
    above.set(ylabel="nodes", title="Nodes, and why allocations ended", ylim=(0, None))
    below.step(seconds(done[0]), done[1], where="post", color=BLUE, linewidth=1.5)
    below.set(xlabel="seconds", ylabel="jobs", title="Finished jobs", ylim=(0, None))
    shown: set[str] = set()
    for one in allocations:
        if one.end_time is not None and one.cause:
            words = one.cause.partition(":")[0]
            color = next((c for beginning, c in CAUSES.items() if words.startswith(beginning)), OTHER)
            at = (one.end_time - begin).total_seconds()
            above.axvline(at, color=color, linestyle="--", label=None if words in shown else words)
            below.axvline(at, color=color, linestyle="--")
            shown.add(words)
    above.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=110)
    plt.close(figure)
