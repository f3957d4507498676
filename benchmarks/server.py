"""What the server does in a second, on PostgreSQL and on SQLite, beside what their drivers do alone.

    python benchmarks/server.py [--quick] [--json FILE] [--engine postgresql|sqlite|both] [--rows NAME ...]

Client, server and database share this machine; the server is a process of its own, and the way to it is the
public SDK. PostgreSQL keeps its default durability. docs/benchmarks.md tells what each row means.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from balsam.client.transport import Client
from benchmarks import alone, bulk, grown, idle, report, serving, single
from benchmarks.report import Row, less_is_better, more_is_better, unjudged

JOBS_PER_SEC = {bulk.CREATE: 10_000, bulk.ACQUIRE: 10_000, bulk.START: 8_000, bulk.END: 8_000}
GET, COUNT, NEWEST, GROWN, IDLE = "get", "count", "newest", "grown", "idle"
CHOICES = (*JOBS_PER_SEC, GET, COUNT, NEWEST, GROWN, IDLE)
ROWS_HELP = f"only these: {', '.join(CHOICES)} (grown: the bulk rows and get, in a large database)"
GET_MS, COUNT_MS, NEWEST_MS = 2.5, 10, 40
GROWN_RATIO = 0.85
IDLE_STREAMS, IDLE_CPU_PERCENT, IDLE_MB = 100, 0.5, 150
NEWEST_JOBS = 1_000
WARM_UP_JOBS = 200


@dataclass(frozen=True)
class Sizes:
    """`rounds`: of the bulk rows, whose median counts. `grown`: jobs in the large database."""

    jobs: int
    rounds: int
    gets: int
    lists: int
    grown: int
    idle_sec: float
    judged: bool  # whether the rows about a large database and an idle server mean anything


FULL = Sizes(jobs=10_000, rounds=5, gets=500, lists=30, grown=1_000_000, idle_sec=600, judged=True)
QUICK = Sizes(jobs=2_000, rounds=1, gets=100, lists=5, grown=20_000, idle_sec=2, judged=False)


def measure(engine: serving.Engine, sizes: Sizes, names: Collection[str]) -> list[Row]:
    """The chosen rows of one engine."""
    rows, rates = [], dict[str, float]()
    if IDLE in names:
        rows += [row if sizes.judged else unjudged(row) for row in _idle(engine, sizes)]
    if {*JOBS_PER_SEC, GET, GROWN} & {*names}:
        with engine.serve() as server:
            found, rates = _empty(engine, server, sizes, names)
            rows = found + rows
    if {COUNT, NEWEST, GROWN} & {*names}:
        with engine.serve() as server:
            rows += [row if sizes.judged else unjudged(row) for row in _grown(server, sizes, names, rates)]
    return rows


def _idle(engine: serving.Engine, sizes: Sizes) -> list[Row]:
    with engine.serve() as server, server.client() as client:
        bulk.set_up(client)
        with idle.streams(server, IDLE_STREAMS):
            percent = idle.cpu_percent(server, sizes.idle_sec)
            memory = idle.resident_mb(server)
    what = f"{engine.name}: idle, {IDLE_STREAMS} streams"
    return [
        less_is_better(f"{what}: processor", percent, "% of a core", None, IDLE_CPU_PERCENT),
        less_is_better(f"{what}: memory", memory, "MB", None, IDLE_MB),
    ]


def _empty(
    engine: serving.Engine, server: serving.Serving, sizes: Sizes, names: Collection[str]
) -> tuple[list[Row], dict[str, float]]:
    """Rows on a database that was empty at the beginning; the bulk rates."""
    with server.client() as client:
        site_id = bulk.set_up(client)
        bulk.run(client, site_id, WARM_UP_JOBS)  # connections, statements
        rates = _rates(client, site_id, sizes) if {*JOBS_PER_SEC, GROWN} & {*names} else {}
        references = alone.seconds(engine, server, site_id, sizes.jobs) if {*JOBS_PER_SEC} & {*names} else {}
        rows = [
            more_is_better(
                f"{engine.name}: {bulk.STEPS[step]}",
                rates[step],
                "jobs/s",
                sizes.jobs / references[step],
                target,
            )
            for step, target in JOBS_PER_SEC.items()
            if step in names
        ]
        if rows:
            memory = idle.resident_mb(server)
            rows.append(less_is_better(f"{engine.name}: memory after these", memory, "MB", None, IDLE_MB))
        if GET in names:
            rows += _get(engine.name, server, sizes)
    return rows, rates


def _rates(client: Client, site_id: int, sizes: Sizes) -> dict[str, float]:
    """Jobs per second of each step, the median of the rounds."""
    rounds = [bulk.run(client, site_id, sizes.jobs) for _ in range(sizes.rounds)]
    return {
        step: sizes.jobs / statistics.median(seconds[step] for seconds in rounds) for step in JOBS_PER_SEC
    }


def _get(engine: str, server: serving.Serving, sizes: Sizes) -> list[Row]:
    """Latency of one job, and of the two things that it can't do without."""
    select = single.bare_select(server, single.ONE_JOB, sizes.gets)
    echo = single.bare_http(sizes.gets)
    with server.client() as client:
        took = single.get_one(client, sizes.gets)
    return [
        less_is_better(f"{engine}: GET /jobs/?limit=1, median", took, "ms", select + echo, GET_MS),
        less_is_better(f"{engine}: - a bare SELECT", select, "ms", None, None),
        less_is_better(f"{engine}: - a bare HTTP answer", echo, "ms", None, None),
    ]


def _grown(
    server: serving.Serving, sizes: Sizes, names: Collection[str], empty: dict[str, float]
) -> list[Row]:
    """Rows on a database in which many jobs have run."""
    rows: list[Row] = []
    with server.client() as client:
        site_id = bulk.set_up(client)
        large = grown.fill(server, client, site_id, sizes.grown)
        among = f"among {sizes.grown:,}"
        if COUNT in names:
            rows += [
                _count(server, client, sizes, "campaign", "sample", among),
                _count(server, client, sizes, "campaign", "lot", among),
            ]
        if NEWEST in names:
            number = min(NEWEST_JOBS, sizes.grown // grown.NUM_SITES)
            rows += [
                _newest(server, client, sizes, site, number, f"{kind} site, {among}")
                for site, kind in ((site_id, "busy"), (large.quiet_site_id, "quiet"))
            ]
        if GROWN in names:
            bulk.run(client, site_id, WARM_UP_JOBS)
            rows.append(_grown_get(server, client, sizes, among))
            rates = _rates(client, site_id, sizes)
            rows += [
                more_is_better(
                    f"{server.engine}: {bulk.STEPS[step]}, {among}",
                    rates[step],
                    "jobs/s",
                    empty[step],
                    GROWN_RATIO * empty[step],
                )
                for step in rates
            ]
    return rows


def _count(server: serving.Serving, client: Client, sizes: Sizes, one: str, other: str, among: str) -> Row:
    tags = {one: grown.value_of(one, 0), other: grown.value_of(other, 0)}
    took = single.count(client, tags, grown.matches(tags, sizes.grown), sizes.lists)
    bare = single.bare_select(server, single.count_statement(tags), sizes.lists)
    return less_is_better(
        f"{server.engine}: count() by {one} and {other}, {among}", took, "ms", bare, COUNT_MS
    )


def _newest(
    server: serving.Serving, client: Client, sizes: Sizes, site_id: int, number: int, which: str
) -> Row:
    took = single.newest(client, site_id, number, sizes.lists)
    bare = single.bare_select(server, single.newest_statement(site_id, number), sizes.lists)
    return less_is_better(f"{server.engine}: newest {number:,} of a {which}", took, "ms", bare, NEWEST_MS)


def _grown_get(server: serving.Serving, client: Client, sizes: Sizes, among: str) -> Row:
    took = single.get_one(client, sizes.gets)
    return less_is_better(f"{server.engine}: GET /jobs/?limit=1, median, {among}", took, "ms", None, GET_MS)


def main() -> int:
    parser = report.parser(__doc__)
    parser.add_argument("--engine", choices=[*serving.ENGINES, "both"], default="both")
    parser.add_argument("--rows", nargs="+", choices=CHOICES, default=CHOICES, metavar="NAME", help=ROWS_HELP)
    options = parser.parse_args()
    engines: Sequence[str] = serving.ENGINES if options.engine == "both" else [options.engine]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="balsam-benchmark-") as folder:
        for name in engines:
            with serving.engine(name, Path(folder)) as engine:
                rows += measure(engine, QUICK if options.quick else FULL, options.rows)
    return report.publish(rows, options.json, "reference")


if __name__ == "__main__":
    sys.exit(main())
