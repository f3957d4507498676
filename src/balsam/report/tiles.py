"""The few numbers that come first."""

from __future__ import annotations

from dataclasses import dataclass

from balsam.report import words
from balsam.report.campaign import Campaign


@dataclass(frozen=True, slots=True)
class Tile:
    label: str
    value: str
    note: str = ""
    alarm: bool = False


def tiles(campaign: Campaign) -> list[Tile]:
    """What is finished and left, how fast, and how much of the nodes was used."""
    return [*_of_jobs(campaign), *_of_nodes(campaign), *_of_runs(campaign)]


def _of_jobs(campaign: Campaign) -> list[Tile]:
    left = campaign.backlog
    if left is None:
        return [Tile("Jobs", "0")]
    jobs = left.left + left.never_starting + left.finished + left.failed
    at_best = max(campaign.rates[1], default=0.0)
    rate = f", at best {words.number(at_best)} an hour" if at_best else ""
    found = [
        Tile("Finished", f"{left.finished:,}", f"of {words.counted(jobs, 'job')}{rate}"),
        Tile("Failed", f"{left.failed:,}", "for good" if left.failed else "", alarm=left.failed > 0),
    ]
    if left.never_starting:
        note = "what they wait for failed or was deleted: `balsam job why`"
        found.append(Tile("Never starting", f"{left.never_starting:,}", note, alarm=True))
    if left.left:
        when = (
            f"about {words.duration(left.seconds_left)} to go" if left.seconds_left else "none ended of late"
        )
        found.append(Tile("Left", f"{left.left:,}", f"{left.running:,} running; {when}"))
    return found


def _of_nodes(campaign: Campaign) -> list[Tile]:
    total = campaign.total
    if total is None:
        return []
    gpu = f"; {words.number(total.gpu_hours)} GPU-hours" if total.gpu_hours else ""
    return [
        Tile("Nodes used", words.share(total.busy_fraction), "of the time that they were available"),
        Tile("Node-hours busy", words.number(total.busy), f"{words.number(total.idle)} idle{gpu}"),
    ]


def _of_runs(campaign: Campaign) -> list[Tile]:
    found = []
    times, delays = campaign.run_times, campaign.delays
    if times is not None:
        found.append(
            Tile(
                "Median run", words.duration(times.median_sec), f"95 % within {words.duration(times.p95_sec)}"
            )
        )
    if delays is not None:
        found.append(
            Tile(
                "Median wait for nodes",
                words.duration(delays.median_sec),
                f"95 % within {words.duration(delays.p95_sec)}",
            )
        )
    if campaign.num_attempts:
        errors = sum(row.failures for row in campaign.failures)
        found.append(
            Tile("Runs", f"{campaign.num_attempts:,}", f"{errors:,} of them failed" if errors else "")
        )
    return found
