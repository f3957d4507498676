"""How the server bears a hundred busy sites: 9 requests a second from each, answer times by route.

    python benchmarks/load.py [--quick] [--json FILE] [--engine postgresql|sqlite|both] [--sites N] ...

Times count from the moment at which a request was due, so that a server that falls behind can't hide it.
Sites, server and database share this machine; docs/benchmarks.md tells what each row means.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from balsam.client.transport import Client
from benchmarks import report, serving
from benchmarks.report import Row, less_is_better, more_is_better
from benchmarks.simulated_site import REQUESTS_PER_SEC, Plan, Told, live

SECONDS, QUICK_SECONDS = 60.0, 8.0
LEAD_SEC = 0.5  # in which all of the sites' processes hear when to begin
ANSWERED_IN_TIME = 0.98  # of the requests that are due
SHOWN_ERRORS = 5


@dataclass(frozen=True)
class Load:
    sites: int
    seconds: float
    generators: int
    streams: bool


def measure(engine: serving.Engine, load: Load) -> list[Row]:
    with engine.serve() as server:
        with server.client() as client:
            plans = [_site(server, client, number) for number in range(load.sites)]
        watched = {"server": server.processes, "database": engine.processes}
        before: dict[str, float] = {}
        told = _run(
            plans,
            load,
            lambda: before.update({name: serving.cpu_sec(found()) for name, found in watched.items()}),
        )
        shares = {
            name: (serving.cpu_sec(processes()) - before[name]) / load.seconds
            for name, processes in watched.items()
        }
    for error in told.errors[:SHOWN_ERRORS]:
        print(f"{engine.name}: {error}", file=sys.stderr)
    return _rows(engine.name, told, load, {**shares, "simulated sites": told.cpu_sec / load.seconds})


def _site(server: serving.Serving, client: Client, number: int) -> Plan:
    """A site of its own with a token, an app and an allocation."""
    record = {
        "name": f"site-{number}",
        "path": f"/somewhere/{number}",
        "allowed_projects": ["local"],
        "allowed_queues": {"local": {"max_nodes": 10, "max_walltime": 600, "max_queued_jobs": 10}},
    }
    site_id = client.post("/sites/", record)["id"]
    app = {"site_id": site_id, "name": "Simulate", "serialized_class": "", "source_code": "", "hooks": []}
    app_id = client.post("/apps/", app)["id"]
    allocation = {"site_id": site_id, "num_nodes": 1, "wall_time_min": 60, "job_mode": "serial"}
    client.post("/batch-jobs/", {**allocation, "project": "local", "queue": "local"})
    token = client.post("/auth/site-tokens", {"site_id": site_id})["token"]
    job = {"workdir": "study/run", "app_id": app_id, "tags": {"campaign": "load", "site": str(number)}}
    return Plan(server.url, token, site_id, job)


def _run(plans: Sequence[Plan], load: Load, begun: Callable[[], None]) -> Told:
    """`begun` is called when the sites, which live in processes of their own, are ready to begin."""
    context = multiprocessing.get_context("spawn")
    links, processes = [], []
    for place in range(load.generators):
        ours, theirs = context.Pipe()
        arguments = (plans[place :: load.generators], load.seconds, load.streams, theirs)
        processes.append(context.Process(target=live, args=arguments, daemon=True))
        processes[-1].start()
        theirs.close()  # so that the end of the process is the end of its link
        links.append(ours)
    for link in links:
        assert link.recv() == "ready"
    begun()
    begin = time.time() + LEAD_SEC
    for link in links:
        link.send(begin)
    told = Told()
    for link, process in zip(links, processes, strict=True):
        told.add(link.recv())
        link.close()
        process.join()
    return told


def _rows(engine: str, told: Told, load: Load, shares: dict[str, float]) -> list[Row]:
    due = load.sites * REQUESTS_PER_SEC
    answered = sum(map(len, told.ms.values())) / load.seconds
    rows = [
        more_is_better(f"{engine}: requests answered", answered, "1/s", due, ANSWERED_IN_TIME * due),
        less_is_better(f"{engine}: errors", len(told.errors), "requests", None, 0),
    ]
    everything = [ms for times in told.ms.values() for ms in times]
    for route, times in [*sorted(told.ms.items()), ("all routes", everything)]:
        rows += [
            less_is_better(f"{engine}: {route}, p{percent}", value, "ms", None, None)
            for percent, value in percentiles(times).items()
        ]
    rows += [
        less_is_better(f"{engine}: processor of the {name}", 100 * share, "% of a core", None, None)
        for name, share in shares.items()
    ]
    return rows


def percentiles(values: Sequence[float]) -> dict[int, float]:
    """The 50th, 95th and 99th."""
    if len(values) < 2:
        return dict.fromkeys((50, 95, 99), values[0] if values else 0.0)
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {percent: cuts[percent - 1] for percent in (50, 95, 99)}


def main() -> int:
    options = _options()
    engines: Sequence[str] = serving.ENGINES if options.engine == "both" else [options.engine]
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    load = Load(options.sites, seconds, options.generators, not options.no_streams)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="balsam-benchmark-") as folder:
        for name in engines:
            with serving.engine(name, Path(folder), options.workers) as engine:
                rows += measure(engine, load)
    return report.publish(rows, options.json, "due")


def _options() -> argparse.Namespace:
    parser = report.parser(__doc__)
    parser.add_argument("--engine", choices=[*serving.ENGINES, "both"], default="both")
    parser.add_argument("--sites", type=int, default=100)
    parser.add_argument("--seconds", type=float, help=f"{SECONDS:g}; with --quick {QUICK_SECONDS:g}")
    parser.add_argument("--workers", type=int, default=1, help="processes of the server on PostgreSQL")
    parser.add_argument("--generators", type=int, default=2, help="processes in which the sites live")
    parser.add_argument("--no-streams", action="store_true", help="the sites hold no event stream each")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
