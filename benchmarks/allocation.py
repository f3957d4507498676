"""A simulated allocation of many nodes: the real launcher is its leader, and its workers' jobs are timers."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import yaml

from balsam.core.states import JobMode
from benchmarks.light_workers import Sample, install
from benchmarks.pilot_site import OwnCpu, PilotSite
from benchmarks.stub_server import stub_server

RAMP_SEC = 180.0  # at most
RAMPED = 0.98  # of the slots are busy: it is over


@dataclass(frozen=True)
class Allocation:
    """`job_sec`: how long each job takes; `seconds`: how long it is watched after the ramp."""

    nodes: int
    slots: int
    job_sec: float
    seconds: float

    @property
    def all_slots(self) -> int:
        return self.nodes * self.slots

    @property
    def jobs(self) -> int:
        """Enough for the time that it is watched, with the ramp and some to spare."""
        return int(self.all_slots * (self.seconds / self.job_sec + 4))


@dataclass(frozen=True)
class Watched:
    """`busy`: share of the slots; `cpu_ms`: of the leader per job.

    `rate`: starts and ends per second; `told_rate`: those that the server was told of.
    """

    ramp_sec: float
    busy: float
    rate: float
    told_rate: float
    cpu_ms: float


def watch(
    site: PilotSite, allocation: Allocation, tags: dict[str, str], count_told: Callable[[], int]
) -> Watched:
    """Runs jobs with these tags, which are there already, on an allocation of its own."""
    told = site.folder / f"told-{time.monotonic_ns()}.jsonl"
    names = [f"nid{number:04}" for number in range(allocation.nodes)]
    environment = install(told.with_suffix(".nodes"), names, allocation.job_sec, told)
    settings = {"compute_node": "pbs", "mpi_app_launcher": "mpich"}
    with site.launcher(JobMode.serial, tags, settings, environment) as leader:
        begin = time.time()
        first = _ramp(told, allocation.all_slots, begin)
        cpu = OwnCpu(leader)
        told_before, told_since = count_told(), time.monotonic()
        time.sleep(allocation.seconds)
        told_rate = (count_told() - told_before) / (time.monotonic() - told_since)
        cpu_sec = cpu.seconds()
    samples = [one for one in Sample.all_in(told) if first.at <= one.at <= first.at + allocation.seconds]
    last = samples[-1]
    seconds = last.at - first.at
    events = last.started + last.ended - first.started - first.ended
    return Watched(
        ramp_sec=first.at - begin,
        busy=(last.busy_sec - first.busy_sec) / seconds / allocation.all_slots,
        rate=events / seconds,
        told_rate=told_rate,
        cpu_ms=1e3 * cpu_sec / max(1, last.ended - first.ended),
    )


def _ramp(told: Path, slots: int, begin: float) -> Sample:
    """The first sample after the ramp: as soon as nearly all slots are busy, or when that takes too long."""
    while True:
        time.sleep(0.1)
        samples = Sample.all_in(told)
        for one in samples:
            if one.running >= RAMPED * slots:
                return one
        if time.time() - begin > RAMP_SEC:
            if not samples:
                raise SystemExit("the simulated workers did not start: see the logs of the site")
            return samples[-1]


@contextmanager
def stubbed(site: PilotSite, app: dict[str, Any], job: dict[str, Any]) -> Iterator[tuple[PilotSite, str]]:
    """The same site at a server that only answers, and its URL."""
    path = site.folder / "stubbed"
    shutil.copytree(
        site.path, path, ignore=shutil.ignore_patterns("log", "data", "qsubmit", "*.pid", "*.sock")
    )
    for part in ("log", "data", "qsubmit"):
        (path / part).mkdir()
    with stub_server(app, job) as url:
        for file in path.iterdir():
            if file.is_file() and "api_root" in file.read_text():
                login = yaml.safe_load(file.read_text())
                file.write_text(yaml.safe_dump({**login, "api_root": url}))
        yield replace(site, path=path), url


def updates_told(url: str) -> int:
    """How many updates the stub has been sent."""
    return int(httpx.get(f"{url}/told").json()["updates"])
