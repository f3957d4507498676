"""The few numbers that come first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from balsam.report import words
from balsam.report.campaign import Campaign
from balsam.schemas.analytics import Backlog, NodeHours


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
    rate = _rate(campaign)
    found = [
        Tile("Finished", f"{left.finished:,}", f"of {words.counted(jobs, 'job')}{rate}"),
        Tile("Failed", f"{left.failed:,}", "for good" if left.failed else "", alarm=left.failed > 0),
    ]
    if left.never_starting:
        note = "what they wait for failed or was deleted: `balsam job why`"
        found.append(Tile("Never starting", f"{left.never_starting:,}", note, alarm=True))
    if left.left:
        when = _time_left(left, campaign.made)
        found.append(Tile("Left", f"{left.left:,}", f"{left.running:,} running; {when}"))
    return found


def _rate(campaign: Campaign) -> str:
    """How fast jobs finished in the best part of the time, and how long that part is."""
    edges, rates = campaign.rates
    at_best = max(rates, default=0.0)
    if not at_best:
        return ""
    place = rates.index(at_best)
    if len(edges) <= 2:
        return f", {words.number(at_best)} an hour"
    length = words.duration((edges[place + 1] - edges[place]).total_seconds())
    return f", at best {words.number(at_best)} an hour for {length}"


def _time_left(left: Backlog, made: datetime) -> str:
    """An estimate, and what it rests on."""
    if left.seconds_left is None:
        return "none ended of late"
    since = (
        ""
        if left.rate_since is None
        else f" of the last {words.duration((made - left.rate_since).total_seconds())}"
    )
    return (
        f"about {words.duration(left.seconds_left)} to go at the rate{since}, "
        f"{words.number(left.ended_per_hour)} an hour"
    )


def _of_nodes(campaign: Campaign) -> list[Tile]:
    total = campaign.total
    if total is None:
        return []
    gpu = f"; {words.number(total.gpu_hours)} GPU-hours" if total.gpu_hours else ""
    return [
        Tile("Nodes used", words.share(total.busy_fraction), _used_of(total)),
        Tile("Node-hours busy", words.number(total.busy), f"{words.number(total.idle)} idle{gpu}"),
    ]


def _used_of(total: NodeHours) -> str:
    if total.busy_fraction is None:
        return "unknown: no launcher of these runs told when it was there"
    note = "of the time that they were available"
    if not words.matters(total.unplaced, total.busy):
        return note
    return f"{note}; {words.number(total.unplaced)} node-hours beyond that are not counted"


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
