"""What the database knows, for the metrics: counted beside the scrapes, which never wait for it for long."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from balsam.core.states import ACTIVE_BATCH_JOB_STATES, JobState
from balsam.store import census
from balsam.store.census import Census
from balsam.store.database import Database

log = logging.getLogger(__name__)
CENSUS_SEC = 15.0  # a census is used again for so long,
CENSUS_SHARE = 0.01  # and longer where taking it would fill more than this share of the time
# A scrape waits so long for a new one; where jobs are many, the one before serves meanwhile.
WAIT_SEC = 0.05


@dataclass(frozen=True, slots=True)
class _Taken:
    """A census, when it was begun (of time.monotonic()), and how long it took."""

    found: Census
    began: float
    took: float

    @property
    def is_fresh(self) -> bool:
        return time.monotonic() < self.began + self.took + max(CENSUS_SEC, self.took / CENSUS_SHARE)


class CensusCollector(Collector):
    """A scrape that finds the census old has it taken by a thread: without scrapes nothing is counted."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._taken: _Taken | None = None
        self._taking: threading.Thread | None = None

    def collect(self) -> Iterator[Metric]:
        answers = self._answers()
        yield GaugeMetricFamily("balsam_database_up", "Whether the database answered.", value=int(answers))
        if not answers:
            return
        taken = self._newest()
        if taken is None:
            return  # the first of all takes longer: the next scrape has it
        age = time.monotonic() - taken.began
        yield GaugeMetricFamily("balsam_census_age_seconds", "Since what follows was counted.", value=age)
        yield from _metrics(taken.found)

    def _answers(self) -> bool:
        """Whether the database does, asked each time."""
        try:
            with self._db.glance() as conn:
                conn.execute(text("SELECT 1"))
                return True
        except (DBAPIError, PoolTimeout) as exc:
            log.warning("the database did not answer for the metrics: %s", exc)
            return False

    def _newest(self) -> _Taken | None:
        with self._lock:
            if self._taken is not None and self._taken.is_fresh:
                return self._taken
            if self._taking is None or not self._taking.is_alive():
                self._taking = threading.Thread(target=self._take, name="census", daemon=True)
                self._taking.start()
            taking = self._taking
        taking.join(WAIT_SEC)
        return self._taken

    def _take(self) -> None:
        began = time.monotonic()
        try:
            with self._db.read() as conn:
                found = census.take(conn)
        except (DBAPIError, PoolTimeout) as exc:
            log.warning("the database was not counted for the metrics: %s", exc)
            return
        self._taken = _Taken(found, began, time.monotonic() - began)


def _metrics(found: Census) -> Iterator[Metric]:
    states = GaugeMetricFamily("balsam_jobs", "Jobs by state.", labels=["state"])
    for state in JobState:
        states.add_metric([state], found.jobs_by_state.get(state, 0))
    yield states
    allocations = GaugeMetricFamily("balsam_batch_jobs", "BatchJobs that have not ended.", labels=["state"])
    nodes = GaugeMetricFamily("balsam_batch_job_nodes", "Nodes that these ask for.", labels=["state"])
    for active in sorted(ACTIVE_BATCH_JOB_STATES):
        number, size = found.batch_jobs_by_state.get(active, (0, 0))
        allocations.add_metric([active], number)
        nodes.add_metric([active], size)
    yield allocations
    yield nodes
    for name, told, value in (
        ("jobs_waiting", "Runnable jobs that no session holds.", found.jobs_waiting),
        ("sessions", "Live sessions.", found.sessions),
        ("nodes_available", "Nodes of live launchers.", found.nodes_available),
        ("nodes_busy", "Nodes that runs keep busy.", found.nodes_busy),
        ("alerts_firing", "Alerts that fire.", found.alerts_firing),
        ("alert_messages_unsent", "Messages of alerts that are on their way.", found.messages_unsent),
        ("alert_oldest_unsent_seconds", "Since the oldest of these was written.", _age(found.oldest_unsent)),
        ("database_bytes", "Size of the database.", found.database_bytes),
    ):
        yield GaugeMetricFamily(f"balsam_{name}", told, value=value)


def _age(moment: int | None) -> float:
    return 0.0 if moment is None else max(0.0, time.time() - moment / 1e6)
