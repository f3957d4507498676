"""What Prometheus reads at `/metrics`; right with any number of worker processes.

Requests, streams and connections are counted by each worker, in files that the workers share where there
are several (the multiprocess mode of prometheus_client). What the database knows (jobs, sessions, events) is
asked of it by the worker that is scraped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from balsam.core.states import JobState
from balsam.store import census
from balsam.store.census import Census
from balsam.store.database import Database

log = logging.getLogger(__name__)
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
CENSUS_SEC = 15.0  # a census is used again for so long,
CENSUS_SHARE = 0.01  # and longer where taking it would fill more than this share of the time


class Metrics:
    """`shared`: the folder of the files that several workers share; None where there is one process."""

    def __init__(self, db: Database, shared: Path | None = None) -> None:
        registry = CollectorRegistry()
        self._requests = Histogram(
            "balsam_request_seconds",
            "Time from a request to the end of its answer.",
            ["method", "route", "status"],
            buckets=BUCKETS,
            registry=registry,
        )
        self.streams = _gauge("balsam_streams", "Open event streams.", registry)
        self._in_use = _gauge(
            "balsam_database_connections_in_use", "Connections that work on a transaction.", registry
        )
        limit = _gauge("balsam_database_connections_max", "Connections that the pools may open.", registry)
        for engine in {db.readers, db.writers}:
            event.listen(engine, "checkout", lambda *_: self._in_use.inc())
            event.listen(engine, "checkin", lambda *_: self._in_use.dec())
            limit.inc(_pool_limit(engine.pool))
        self._shared = shared
        self._own = registry
        self._census = _CensusCollector(db)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, status).observe(seconds)

    def text(self) -> bytes:
        """All workers' numbers, as Prometheus reads them."""
        registry = self._own
        if self._shared is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(self._shared))  # type: ignore[no-untyped-call]
        census_registry = CollectorRegistry(auto_describe=False)
        census_registry.register(self._census)
        return generate_latest(registry) + generate_latest(census_registry)


def _gauge(name: str, text: str, registry: CollectorRegistry) -> Gauge:
    return Gauge(name, text, registry=registry, multiprocess_mode="livesum")


def _pool_limit(pool: object) -> int:
    return sum(int(getattr(pool, name, 0)) for name in ("_pool_size", "_max_overflow"))


class _CensusCollector(Collector):
    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._known: Census | None = None
        self._good_until = 0.0

    def collect(self) -> Iterator[Metric]:
        answer = self._current()
        yield GaugeMetricFamily(
            "balsam_database_up", "Whether the database answered.", value=0 if answer is None else 1
        )
        if answer is None:
            return
        found, written = answer
        states = GaugeMetricFamily("balsam_jobs", "Jobs by state.", labels=["state"])
        for state in JobState:
            states.add_metric([state], found.jobs_by_state.get(state, 0))
        yield states
        yield GaugeMetricFamily(
            "balsam_jobs_waiting", "Runnable jobs that no session holds.", value=found.jobs_waiting
        )
        yield GaugeMetricFamily("balsam_sessions", "Live sessions.", value=found.sessions)
        yield GaugeMetricFamily(
            "balsam_nodes_available", "Nodes of live launchers.", value=found.nodes_available
        )
        yield GaugeMetricFamily("balsam_nodes_busy", "Nodes that runs keep busy.", value=found.nodes_busy)
        yield CounterMetricFamily("balsam_events_written", "Events of jobs ever written.", value=written)

    def _current(self) -> tuple[Census, int] | None:
        """What there is, and how many events there ever were.

        The events are asked for each time: each worker has a census of its own age, and a counter that went
        back from one worker's answer to the next one's would be taken for one that began anew.
        """
        try:
            with self._lock, self._db.read() as conn:
                return self._census(conn), census.events_written(conn)
        except (DBAPIError, PoolTimeout) as exc:
            log.warning("the database did not answer for the metrics: %s", exc)
            return None

    def _census(self, conn: Connection) -> Census:
        began = time.monotonic()
        if self._known is None or began >= self._good_until:
            self._known = census.take(conn)
            now = time.monotonic()
            self._good_until = now + max(CENSUS_SEC, (now - began) / CENSUS_SHARE)
        return self._known
