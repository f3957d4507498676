"""How long reports over a log of a million events take, from the call to the two lists.

    python benchmarks/analytics.py [--quick] [--json FILE] [--engine postgresql|sqlite|both]

The reference of each row is the same series by numpy, from columns that are in memory already. What each row
means: docs/benchmarks.md.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from balsam.analytics import throughput_report, utilization_report
from balsam.api import EventLog
from balsam.core.clock import to_us
from balsam.sdk.context import use_client
from balsam.sdk.events import EventLogQuery
from benchmarks import bulk, grown, report, serving
from benchmarks.report import Row, less_is_better, unjudged

THROUGHPUT_SEC, UTILIZATION_SEC, BINNED_SEC = 1.5, 2.5, 0.4
BINS = 200
Lists = tuple[Any, Any]  # lists of ours, arrays of numpy
Array = Any  # of numpy


@dataclass(frozen=True)
class Sizes:
    """`jobs`: in the log, with six events each; `points`: the jobs of a longer one, 0 for none."""

    jobs: int
    points: int
    rounds: int
    judged: bool


FULL = Sizes(jobs=166_667, points=500_000, rounds=5, judged=True)
QUICK = Sizes(jobs=10_000, points=0, rounds=3, judged=False)


@dataclass(frozen=True)
class Columns:
    """What a report is made of: ends of jobs; starts, ends and nodes of runs. In numpy's arrays."""

    finished: Array
    starts: Array
    ends: Array
    nodes: Array


def measure(engine: serving.Engine, sizes: Sizes) -> list[Row]:
    """The rows of one engine."""
    what = f"{engine.name}, {sizes.jobs * grown.EVENTS_PER_JOB:,} events"
    with _log(engine, sizes.jobs) as columns:
        rows = _reports(what, EventLog.objects.all(), columns, sizes.rounds)
    if not sizes.judged:
        return [unjudged(row) for row in rows]
    with _log(engine, sizes.points) as columns:
        return [*rows, *_points(engine.name, EventLog.objects.all(), columns, sizes.rounds)]


@contextmanager
def _log(engine: serving.Engine, jobs: int) -> Iterator[Columns]:
    """A server with a log of so many jobs, all of whom ran."""
    with engine.serve() as server, server.client() as client, use_client(client):
        grown.fill(server, client, bulk.set_up(client), jobs)
        yield _columns(server)


def _reports(what: str, log: EventLogQuery, columns: Columns, rounds: int) -> list[Row]:
    def row(title: str, ours: Callable[[], Lists], numpys: Callable[[], Lists], target: float) -> Row:
        return _row(f"{what}: {title}", ours, numpys, target, rounds)

    return [
        row(
            "throughput_report",
            lambda: throughput_report(log),
            lambda: _counts(columns.finished),
            THROUGHPUT_SEC,
        ),
        row("utilization_report", lambda: utilization_report(log), lambda: _steps(columns), UTILIZATION_SEC),
        row(
            f"throughput_report, {BINS} bins",
            lambda: throughput_report(log, bins=BINS),
            lambda: _binned_counts(columns.finished),
            BINNED_SEC,
        ),
        row(
            f"utilization_report, {BINS} bins",
            lambda: utilization_report(log, bins=BINS),
            lambda: _means(columns),
            BINNED_SEC,
        ),
    ]


def _points(name: str, log: EventLogQuery, columns: Columns, rounds: int) -> list[Row]:
    """The reports whose lists themselves are as long as that."""
    jobs = len(columns.finished)
    return [
        _row(
            f"{name}: throughput_report of {jobs:,} points",
            lambda: throughput_report(log),
            lambda: _counts(columns.finished),
            None,
            rounds,
        ),
        _row(
            f"{name}: utilization_report of {2 * jobs:,} points",
            lambda: utilization_report(log),
            lambda: _steps(columns),
            None,
            rounds,
        ),
    ]


def _row(
    name: str, ours: Callable[[], Lists], numpys: Callable[[], Lists], target: float | None, rounds: int
) -> Row:
    _check(name, ours(), numpys())
    took = statistics.median(bulk.timed(ours) for _ in range(rounds))
    numpy_took = statistics.median(bulk.timed(numpys) for _ in range(rounds))
    return less_is_better(name, took, "s", numpy_took, target)


def _check(name: str, ours: Lists, numpys: Lists) -> None:
    """Both say the same; a report that is quick and wrong is worth nothing."""
    times = [to_us(moment) if isinstance(moment, datetime) else moment for moment in ours[0]]
    alike = len(times) == len(numpys[0]) and np.array_equal(times, numpys[0])
    if not alike or not np.allclose(ours[1], numpys[1], atol=1e-6):
        raise SystemExit(f"{name}: the report is not what numpy makes of the same rows")


def _columns(server: serving.Serving) -> Columns:
    """By time, as the indexes of a database hold them."""
    conn = server.connect()
    finished = conn.execute(
        "SELECT timestamp FROM events WHERE to_state = 'JOB_FINISHED' ORDER BY 1"
    ).fetchall()
    runs = conn.execute('SELECT start, "end", num_nodes FROM runs ORDER BY start').fetchall()
    conn.close()
    starts, ends, nodes = zip(*runs, strict=True)
    return Columns(
        np.array([row[0] for row in finished]), np.array(starts), np.array(ends), np.array(nodes, dtype=float)
    )


# ---- numpy ----


def _counts(times: Array) -> Lists:
    return np.sort(times), np.arange(1, len(times) + 1)


def _binned_counts(times: Array) -> Lists:
    edges = _edges(int(times[0]), int(times[-1]))
    return edges[1:], np.append(np.searchsorted(times, edges[1:-1]), len(times))


def _steps(columns: Columns) -> Lists:
    times = np.concatenate((columns.starts, columns.ends))
    changes = np.concatenate((columns.nodes, -columns.nodes))
    order = np.argsort(times, kind="stable")
    times, levels = times[order], np.cumsum(changes[order])
    last = np.append(np.diff(times) != 0, True)
    return times[last], np.round(levels[last], 9)


def _means(columns: Columns) -> Lists:
    start = int(columns.starts[0])
    edges = _edges(start, int(columns.ends[-1]))
    held = _held(columns.starts, columns.nodes, edges, start) - _held(
        columns.ends, columns.nodes, edges, start
    )
    means = np.diff(held) / np.diff(edges)
    return edges, np.append(means, means[-1])


def _held(times: Array, weights: Array, edges: Array, start: int) -> Array:
    """The area up to each edge below steps of these weights at these ascending times."""
    seconds = (times - start) / 1e6
    until = np.searchsorted(times, edges)
    weight = np.concatenate(([0.0], np.cumsum(weights)))[until]
    moment = np.concatenate(([0.0], np.cumsum(weights * seconds)))[until]
    return ((edges - start) / 1e6 * weight - moment) * 1e6


def _edges(start: int, end: int) -> Array:
    width = -((start - end) // BINS)
    return np.append(np.arange(start, end, width), end)


def main() -> int:
    parser = report.parser(__doc__)
    parser.add_argument("--engine", choices=[*serving.ENGINES, "both"], default="both")
    options = parser.parse_args()
    names = serving.ENGINES if options.engine == "both" else (options.engine,)
    rows = []
    with tempfile.TemporaryDirectory(prefix="balsam-benchmark-") as folder:
        for name in names:
            with serving.engine(name, Path(folder)) as engine:
                rows += measure(engine, QUICK if options.quick else FULL)
    return report.publish(rows, options.json, "numpy")


if __name__ == "__main__":
    sys.exit(main())
