"""What Prometheus reads at `/metrics`; right with any number of worker processes.

Requests, streams, connections, moves and events of jobs are counted by each worker, in files that the workers
share where there are several (the multiprocess mode of prometheus_client). What the database knows (jobs,
sessions) is asked of it by the worker that is scraped: see `server.census`. No label names a user, a site or
a thing of theirs: operators are not to read what users do, and labels must stay few.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from sqlalchemy import event

from balsam.core.states import JobState
from balsam.server.census import CensusCollector
from balsam.store.database import Database

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


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
        self._moves = Counter(
            "balsam_job_moves",
            "Moves of jobs by the state that they entered; RUNNING is the start of a run.",
            ["to_state"],
            registry=registry,
        )
        # Counted as they are committed: ids are also given to what is rolled back.
        self._events = Counter(
            "balsam_events_written", "Events of jobs that were written.", registry=registry
        )
        for state in JobState:
            self._moves.labels(state)  # a rate needs the zero from which it rises
        self._swept = Gauge(
            "balsam_sweep_timestamp_seconds",
            "When overdue leases were last looked at; of the worker where that was longest ago.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.swept()
        self._shared = shared
        self._own = registry
        self._census = CensusCollector(db)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, status).observe(seconds)

    def moved(self, moves: Mapping[str, int], num_events: int) -> None:
        """Jobs have entered these states, and so many events were committed."""
        self._events.inc(num_events)
        for state, number in moves.items():
            self._moves.labels(state).inc(number)

    def swept(self) -> None:
        """Overdue leases have just been looked at."""
        self._swept.set_to_current_time()

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
