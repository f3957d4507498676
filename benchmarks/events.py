"""How long questions to a log of ten million events take, each through the SDK from the call to its answer.

    python benchmarks/events.py [--quick] [--json FILE] [--engine postgresql|sqlite|both]

The reference of each row is the same question in plain SQL, by the driver alone; both must agree. What each
row means: docs/benchmarks.md.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from balsam.api import EventLog
from balsam.client.transport import Client
from balsam.sdk.context import use_client
from balsam.sdk.events import EventLogQuery
from benchmarks import bulk, event_columns, event_log, report, serving
from benchmarks.event_cases import Case, cases, newest
from benchmarks.event_log import Log
from benchmarks.report import Row, less_is_better, unjudged
from tests.services import new_user

PAGE = 100
PAGE_MS, PAGE_BY_TAG_MS = 100, 150
MANY = 100_000
COUNT_MS, COUNT_OF_MANY_MS = 200, 3_000
BOUNDED_COUNT_MS = 1_000


@dataclass(frozen=True)
class Sizes:
    """`jobs`: on each engine, with six events each; `columns`: events that are fetched as columns."""

    jobs: dict[str, int]
    columns: int
    rounds: int
    judged: bool


FULL = Sizes({serving.POSTGRESQL: 1_666_667, serving.SQLITE: 166_667}, 1_000_000, rounds=5, judged=True)
QUICK = Sizes({serving.POSTGRESQL: 10_000, serving.SQLITE: 10_000}, 20_000, rounds=3, judged=False)


@dataclass(frozen=True)
class Bench:
    """A log, and who asks about it."""

    server: serving.Serving
    client: Client
    neighbour: Client | None
    log: Log
    rounds: int

    def measure(self, columns: int) -> list[Row]:
        """All rows."""
        rows = []
        with use_client(self.client):
            for case in cases(self.log):
                rows += self._case(case)
            rows += event_columns.measure(self._named(""), columns)
        if self.neighbour is not None:
            with use_client(self.neighbour):
                rows += self._case(newest("all of a user who has few"), owner=2)
        return rows

    def _case(self, case: Case, owner: int = 1) -> list[Row]:
        query = EventLog.objects.filter(**case.filters).order_by(case.order)
        where = f"owner_id = {owner} AND {case.sql}"
        way = "DESC" if case.order.startswith("-") else "ASC"
        order = f"timestamp {way}, id {way}"
        page, page_ms = self._plain(f"SELECT id FROM events WHERE {where} ORDER BY {order} LIMIT {PAGE}")
        total, total_ms = self._plain(f"SELECT count(*) FROM events WHERE {where}")
        self._agree(case.name, [one.id for one in query[:PAGE]], [row[0] for row in page])
        self._agree(case.name, query.count(), total[0][0])
        rows = [*self._pages(case, query, page_ms), *self._counts(case, query, total[0][0], total_ms)]
        return [*rows, *self._far_down(case, query)] if total[0][0] > MANY else rows

    def _pages(self, case: Case, query: EventLogQuery, plain_ms: float) -> list[Row]:
        took = self._median(lambda: list(query[:PAGE]))
        name = self._named(f"{case.name}: page")
        return [less_is_better(name, took, "ms", plain_ms, _page_target(case))]

    def _far_down(self, case: Case, query: EventLogQuery) -> list[Row]:
        """The page behind a cursor in the middle of the log."""
        asked = {**query.filters, "ordering": case.order, "limit": PAGE, "count": "no"}
        middle = EventLog.objects.filter(job_id=self.log.middle_job_id).first()
        assert middle is not None
        after = self.client.get("/events/", {**asked, "timestamp_before": middle.timestamp})["next"]
        took = self._median(lambda: self.client.get("/events/", {**asked, "after": after}))
        name = self._named(f"{case.name}: a page far down")
        return [less_is_better(name, took, "ms", None, _page_target(case))]

    def _counts(self, case: Case, query: EventLogQuery, total: int, plain_ms: float) -> list[Row]:
        target = None if case.is_slow else COUNT_MS if total <= MANY else COUNT_OF_MANY_MS
        took = self._median(query.count)
        rows = [less_is_better(self._named(f"{case.name}: count, {total:,}"), took, "ms", plain_ms, target)]
        if total > MANY:
            bounded = self._median(query.bounded_count)
            target = None if case.is_slow else BOUNDED_COUNT_MS
            rows.append(
                less_is_better(self._named(f"{case.name}: more than {MANY:,}"), bounded, "ms", None, target)
            )
        return rows

    def _named(self, what: str) -> str:
        return f"{self.server.engine}, {self.log.events:,} events: {what}"

    def _median(self, act: Callable[[], Any]) -> float:
        act()
        return 1e3 * statistics.median(bulk.timed(act) for _ in range(self.rounds))

    def _plain(self, statement: str) -> tuple[list[Any], float]:
        conn = self.server.connect()
        try:
            rows: list[Any] = []
            took = bulk.timed(lambda: rows.extend(conn.execute(statement).fetchall()))
            return rows, 1e3 * took
        finally:
            conn.close()

    def _agree(self, name: str, ours: Any, plain: Any) -> None:
        if ours != plain:
            raise SystemExit(f"{self._named(name)}: {ours} by Balsam, and {plain} by plain SQL")


def _page_target(case: Case) -> float | None:
    return None if case.is_slow else PAGE_BY_TAG_MS if "tags" in case.filters else PAGE_MS


@contextmanager
def bench(engine: serving.Engine, sizes: Sizes) -> Iterator[Bench]:
    """A server of an engine, with its log."""
    with ExitStack() as opened:
        server = opened.enter_context(engine.serve())
        client = opened.enter_context(server.client())
        neighbour = None
        if engine.name == serving.POSTGRESQL:
            neighbour = opened.enter_context(new_user(server.url).client)
        log = event_log.fill(server, client, sizes.jobs[engine.name], neighbour)
        yield Bench(server, client, neighbour, log, sizes.rounds)


def main() -> int:
    parser = report.parser(__doc__)
    parser.add_argument("--engine", choices=[*serving.ENGINES, "both"], default="both")
    options = parser.parse_args()
    names = serving.ENGINES if options.engine == "both" else (options.engine,)
    sizes = QUICK if options.quick else FULL
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="balsam-benchmark-") as folder:
        for name in names:
            with serving.engine(name, Path(folder)) as engine, bench(engine, sizes) as measured:
                rows += measured.measure(sizes.columns)
    rows = rows if sizes.judged else [unjudged(row) for row in rows]
    return report.publish(rows, options.json, "plain SQL")


if __name__ == "__main__":
    sys.exit(main())
