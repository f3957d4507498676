"""Draws how well the nodes were used and how fast jobs finished, from what the server recorded.

python -m examples.figure EXPERIMENT CAMPAIGN [PICTURE.png]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from balsam.analytics import available_nodes, throughput_report, utilization_report
from balsam.api import BatchJob, EventLog

GRAY, BLUE = "#b8bcc4", "#1f5fbf"


def draw(tags: dict[str, str], picture: Path) -> None:
    """Writes a PNG about the jobs and allocations with these tags."""
    events = EventLog.objects.filter(tags=tags)
    nodes = available_nodes(BatchJob.objects.filter(filter_tags=tags))
    busy = utilization_report(events, node_weighting=True)
    done = throughput_report(events, to_state="JOB_FINISHED")
    begin = min(times[0] for times, _ in (nodes, busy, done) if times)

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.step(_seconds(nodes[0], begin), nodes[1], where="post", color=GRAY, linewidth=5, label="available")
    left.step(_seconds(busy[0], begin), busy[1], where="post", color=BLUE, linewidth=1.2, label="busy")
    left.set(xlabel="seconds", ylabel="nodes", title="Nodes", ylim=(0, None))
    left.legend(loc="lower center", frameon=False, ncols=2)
    right.step(_seconds(done[0], begin), done[1], where="post", color=BLUE, linewidth=1.5)
    right.set(xlabel="seconds", ylabel="jobs", title="Finished jobs", ylim=(0, None))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def _seconds(times: Sequence[datetime], begin: datetime) -> list[float]:
    return [(time - begin).total_seconds() for time in times]


if __name__ == "__main__":
    experiment, campaign, *picture = sys.argv[1:]
    draw({"experiment": experiment, "campaign": campaign}, Path(*picture or [f"{experiment}.png"]))
