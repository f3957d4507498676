"""How fast launchers start and end runs, beside a bare loop and other people's programs.

    python benchmarks/launcher.py [--quick] [--json FILE] [--rows NAME ...] [--peers [NAME ...]]

Server, site, agent and launcher share this machine with what is beside them. A peer gets an environment of
its own next to this file when it is first used. docs/benchmarks.md tells what each row means.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil

from balsam.core.states import JobMode
from balsam.platform import mpi
from balsam.platform.mpi.launch import Host, Launch
from benchmarks import allocation, report
from benchmarks.allocation import Allocation
from benchmarks.peers import PEERS, Peer, PeerMissing
from benchmarks.pilot_site import OwnCpu, PilotSite, pilot_site
from benchmarks.report import Row, less_is_better, more_is_better, unjudged

SLOTS = 2
SHELL, PYTHON, LATENCY, MPI, BUSY, STUB = "shell", "python", "latency", "mpi", "busy", "stub"
CHOICES = (SHELL, PYTHON, LATENCY, MPI, BUSY, STUB)
MPI_LAUNCHER, MPI_RANKS = "mpich", 2
# How many times as fast as each peer, at PEER_JOBS jobs.
SHELL_RATIOS = {"hyperqueue": 2.0, "parsl": 3.0, "dask": 2.0}
PYTHON_RATIOS = {"dask": 4.0, "parsl": 3.0}
PEER_JOBS = 10_000
SHELL_RATE, SHELL_SHARE, SHELL_CPU_MS = 600.0, 0.6, 0.6
PYTHON_RATE = 1_500.0
LATENCY_MS, LATENCY_P95_MS = 40.0, 80.0
MPI_SHARE = 0.8
BUSY_PERCENT = 98.0
STUB_RATE = 5_000.0


@dataclass(frozen=True)
class Sizes:
    """How much of each; `rounds`: of the rows beside others, which take turns, and whose medians count."""

    shell: int
    python: int
    rounds: int
    latency: int
    mpi: int
    busy: Allocation
    stub: Allocation
    judged: bool


FULL = Sizes(
    shell=PEER_JOBS,
    python=PEER_JOBS,
    rounds=3,
    latency=200,
    mpi=300,
    busy=Allocation(nodes=128, slots=64, job_sec=10.0, seconds=300.0),
    stub=Allocation(nodes=128, slots=64, job_sec=1.0, seconds=20.0),
    judged=True,
)
QUICK = Sizes(
    shell=300,
    python=300,
    rounds=1,
    latency=10,
    mpi=10,
    busy=Allocation(nodes=8, slots=32, job_sec=5.0, seconds=10.0),
    stub=Allocation(nodes=8, slots=64, job_sec=0.5, seconds=5.0),
    judged=False,
)


def measure(sizes: Sizes, names: Collection[str], peers: Sequence[Peer]) -> list[Row]:
    """The chosen rows, in a site of their own."""
    with (
        tempfile.TemporaryDirectory(prefix="balsam-launcher-") as folder,
        pilot_site(Path(folder)) as site,
    ):
        from benchmarks.first_light_apps import Nothing, NothingPython

        Nothing.sync()
        NothingPython.sync()
        found: list[Row] = []
        for name, rows_of in _MEASURES.items():
            if name in names:
                found += rows_of(site, sizes, peers)
    return found if sizes.judged else [unjudged(row) for row in found]


def shell_rows(site: PilotSite, sizes: Sizes, peers: Sequence[Peer]) -> list[Row]:
    from benchmarks.first_light_apps import Nothing

    rates: dict[str, list[float]] = {}
    cpu_ms, server_ms = [], []
    with site.launcher(JobMode.serial, _tags(SHELL)) as launcher:
        _warm_up(Nothing, SHELL)
        for number in range(sizes.rounds):
            used, served = OwnCpu(launcher), OwnCpu(psutil.Process(site.server_pid()))
            seconds = _run_all(site, Nothing, SHELL, sizes.shell, f"round-{number}")
            cpu_ms.append(1e3 * used.seconds() / sizes.shell)
            server_ms.append(1e3 * served.seconds() / sizes.shell)
            rates.setdefault("balsam", []).append(sizes.shell / seconds)
            bare = _bare_shell(site.folder / f"bare-{number}", sizes.shell)
            rates.setdefault("bare", []).append(sizes.shell / bare)
            _peers_turn(rates, peers, SHELL_RATIOS, SHELL, sizes.shell, site.folder / f"peer-{number}")
    ours, bare_rate = statistics.median(rates["balsam"]), statistics.median(rates["bare"])
    return [
        more_is_better("shell jobs", ours, "jobs/s", None, SHELL_RATE),
        more_is_better("shell jobs beside a bare loop", ours, "jobs/s", bare_rate, SHELL_SHARE * bare_rate),
        *peer_rows("shell jobs", ours, rates, SHELL_RATIOS, sizes.shell),
        less_is_better(
            "launcher's processor per shell job", statistics.median(cpu_ms), "ms", None, SHELL_CPU_MS
        ),
        less_is_better("server's processor per shell job", statistics.median(server_ms), "ms", None, None),
    ]


def python_rows(site: PilotSite, sizes: Sizes, peers: Sequence[Peer]) -> list[Row]:
    from benchmarks.first_light_apps import NothingPython

    rates: dict[str, list[float]] = {}
    with site.launcher(JobMode.serial, _tags(PYTHON)):
        _warm_up(NothingPython, PYTHON)
        for number in range(sizes.rounds):
            seconds = _run_all(site, NothingPython, PYTHON, sizes.python, f"python-{number}")
            rates.setdefault("balsam", []).append(sizes.python / seconds)
            folder = site.folder / f"peer-python-{number}"
            _peers_turn(rates, peers, PYTHON_RATIOS, "function", sizes.python, folder)
    ours = statistics.median(rates["balsam"])
    return [
        more_is_better("run() jobs", ours, "jobs/s", None, PYTHON_RATE),
        *peer_rows("run() jobs", ours, rates, PYTHON_RATIOS, sizes.python),
    ]


def latency_rows(site: PilotSite, sizes: Sizes, peers: Sequence[Peer]) -> list[Row]:
    """One job at a time on a launcher that has nothing else to do."""
    from benchmarks.first_light_apps import NothingPython

    each = []
    with site.launcher(JobMode.serial, _tags(LATENCY)):
        _warm_up(NothingPython, LATENCY)
        for number in range(sizes.latency):
            begin = time.perf_counter()
            job = NothingPython.submit(f"latency/{number}", tags=_tags(LATENCY), node_packing_count=SLOTS)
            job.result(timeout=60)
            each.append(1e3 * (time.perf_counter() - begin))
    beside = _latency_of(next((peer for peer in peers if peer.name == "dask"), None), sizes, site.folder)
    return [
        less_is_better(
            "submit() to result(), median", _quantile(each, 50), "ms", _quantile(beside, 50), LATENCY_MS
        ),
        less_is_better(
            "submit() to result(), p95", _quantile(each, 95), "ms", _quantile(beside, 95), LATENCY_P95_MS
        ),
    ]


def mpi_rows(site: PilotSite, sizes: Sizes, peers: Sequence[Peer]) -> list[Row]:
    """Runs of two ranks, one after the other: each needs both cores."""
    from benchmarks.first_light_apps import Nothing

    line = mpi.find(MPI_LAUNCHER).command(
        Launch(["/bin/true"], [Host("localhost")], ranks_per_node=MPI_RANKS)
    )
    name = f"mpi mode, {MPI_RANKS} ranks"
    if shutil.which(line[0]) is None:
        return [Row(f"{name}: no {line[0]} here", None, "jobs/s", None, None, None, None)]
    ours, bare = [], []
    with site.launcher(JobMode.mpi, _tags(MPI), {"mpi_app_launcher": MPI_LAUNCHER}):
        _warm_up(Nothing, MPI)
        for number in range(sizes.rounds):
            seconds = _run_all(site, Nothing, MPI, sizes.mpi, f"mpi-{number}", ranks_per_node=MPI_RANKS)
            ours.append(sizes.mpi / seconds)
            bare.append(sizes.mpi / _bare_mpi(line, sizes.mpi, site.folder / "bare-mpi"))
    bare_rate = statistics.median(bare)
    return [more_is_better(name, statistics.median(ours), "jobs/s", bare_rate, MPI_SHARE * bare_rate)]


def busy_rows(site: PilotSite, sizes: Sizes, peers: Sequence[Peer]) -> list[Row]:
    from benchmarks.first_light_apps import Nothing

    plan = sizes.busy
    _create(Nothing, BUSY, plan.jobs, "busy", node_packing_count=plan.slots)
    with site.records() as records:
        seen = allocation.watch(site, plan, _tags(BUSY), records.count_runs)
    what = f"{plan.nodes} nodes of {plan.slots} slots, jobs of {plan.job_sec:g} s"
    return [
        more_is_better(f"{what}: slots busy", 100 * seen.busy, "%", None, BUSY_PERCENT),
        more_is_better(f"{what}: starts and ends", seen.rate, "1/s", 2 * plan.all_slots / plan.job_sec, None),
        more_is_better(f"{what}: told to the server", seen.told_rate, "1/s", seen.rate, None),
        less_is_better(f"{what}: ramp", seen.ramp_sec, "s", None, None),
        less_is_better(f"{what}: leader's processor per job", seen.cpu_ms, "ms", None, None),
    ]


def stub_rows(site: PilotSite, sizes: Sizes, peers: Sequence[Peer]) -> list[Row]:
    from balsam.sdk.context import default_client
    from benchmarks.first_light_apps import Nothing

    plan = sizes.stub
    job = Nothing.submit("stub/0", tags={}, node_packing_count=plan.slots)
    record = default_client().get(f"/jobs/{job.id}")
    app = default_client().get(f"/apps/{record['app_id']}")
    with allocation.stubbed(site, app, record) as (stubbed, url):
        seen = allocation.watch(stubbed, plan, {}, lambda: allocation.updates_told(url))
    return [
        more_is_better("starts and ends, leader and a stub server", seen.rate, "1/s", None, STUB_RATE),
        more_is_better("told to the stub server", seen.told_rate, "1/s", seen.rate, None),
        less_is_better("leader's processor per job, stub server", seen.cpu_ms, "ms", None, None),
    ]


_MEASURES: dict[str, Callable[[PilotSite, Sizes, Sequence[Peer]], list[Row]]] = {
    SHELL: shell_rows,
    PYTHON: python_rows,
    LATENCY: latency_rows,
    MPI: mpi_rows,
    BUSY: busy_rows,
    STUB: stub_rows,
}


def _tags(row: str) -> dict[str, str]:
    return {"run": row}


def _warm_up(app: Any, row: str) -> None:
    """The launcher is there, and its worker knows the app."""
    from balsam.api import Job

    jobs = [app.submit(f"{row}/warm-up/{n}", tags=_tags(row), node_packing_count=SLOTS) for n in range(SLOTS)]
    if Job.objects.wait(jobs, timeout=120).not_done:
        raise SystemExit("the launcher does not run jobs: see the logs of the site")


def _create(app: Any, row: str, count: int, folder: str, **resources: int) -> None:
    from balsam.api import Job

    asked = {"node_packing_count": SLOTS, **resources}
    for start in range(0, count, 10_000):
        numbers = range(start, min(count, start + 10_000))
        jobs = [app.submit(f"{folder}/{n}", tags=_tags(row), save=False, **asked) for n in numbers]
        Job.objects.bulk_create(jobs)


def _run_all(site: PilotSite, app: Any, row: str, count: int, folder: str, **resources: int) -> float:
    """Seconds from the first start until the database knows that all have finished."""
    with site.records() as records:
        _create(app, row, count, folder, **resources)
        return records.wait_finished(count)


def _bare_shell(folder: Path, count: int) -> float:
    """Seconds for as many processes, two at a time, each with a folder and an output of its own."""

    def one(number: int) -> None:
        workdir = folder / str(number)
        workdir.mkdir(parents=True)
        with (workdir / "job.out").open("ab") as output:
            code = subprocess.Popen(
                ["/bin/true"], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=workdir
            ).wait()
        if code:
            raise SystemExit("/bin/true failed")

    begin = time.perf_counter()
    with ThreadPoolExecutor(SLOTS) as pool:
        list(pool.map(one, range(count)))
    return time.perf_counter() - begin


def _bare_mpi(line: Sequence[str], count: int, folder: Path) -> float:
    """Seconds for as many runs of the same line, one after the other."""
    folder.mkdir(exist_ok=True)
    begin = time.perf_counter()
    for _ in range(count):
        with (folder / "job.out").open("ab") as output:
            subprocess.run(
                line, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, check=True
            )
    return time.perf_counter() - begin


def _peers_turn(
    rates: dict[str, list[float]],
    peers: Sequence[Peer],
    wanted: Collection[str],
    what: str,
    count: int,
    folder: Path,
) -> None:
    for peer in peers:
        own = folder / peer.name
        own.mkdir(parents=True)
        try:
            if peer.name in wanted:
                rates.setdefault(peer.name, []).append(count / peer.measure(what, count, own)["seconds"])
        except PeerMissing as exc:
            print(exc, file=sys.stderr, flush=True)


def peer_rows(
    name: str, ours: float, rates: dict[str, list[float]], ratios: dict[str, float], count: int
) -> list[Row]:
    """Beside each peer that was measured; it is judged by ratios at PEER_JOBS jobs."""
    rows = []
    for peer, ratio in ratios.items():
        if peer in rates:
            theirs = statistics.median(rates[peer])
            row = more_is_better(f"{name} beside {PEERS[peer].title}", ours, "jobs/s", theirs, ratio * theirs)
            rows.append(row if count == PEER_JOBS else unjudged(row))
    return rows


def _latency_of(peer: Peer | None, sizes: Sizes, folder: Path) -> list[float]:
    """Milliseconds of each; none without the peer."""
    if peer is None:
        return []
    own = folder / "peer-latency"
    own.mkdir()
    try:
        each: list[float] = peer.measure("latency", sizes.latency, own)["each"]
    except PeerMissing as exc:
        print(exc, file=sys.stderr, flush=True)
        return []
    return [1e3 * seconds for seconds in each]


def _quantile(values: Sequence[float], percent: int) -> Any:
    """None of nothing."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else None


def main() -> int:
    parser = report.parser(__doc__)
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=CHOICES,
        default=CHOICES,
        metavar="NAME",
        help=f"only these: {', '.join(CHOICES)}",
    )
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=list(PEERS),
        default=None,
        metavar="NAME",
        help=f"beside these only: {', '.join(PEERS)}; none without a name",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help=f"of the shell and run() rows; peers are judged at {PEER_JOBS:,} only",
    )
    options = parser.parse_args()
    sizes = QUICK if options.quick else FULL
    if options.jobs:
        sizes = replace(sizes, shell=options.jobs, python=options.jobs)
    chosen = [PEERS[name] for name in (PEERS if options.peers is None else options.peers)]
    if options.quick and options.peers is None:
        chosen = [peer for peer in chosen if peer.is_installed]
    return report.publish(measure(sizes, options.rows, chosen), options.json, "reference")


if __name__ == "__main__":
    sys.exit(main())
