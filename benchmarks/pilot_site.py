"""A site whose launchers the benchmark starts itself, and what its server's database says of their runs."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from balsam.core.states import JobMode, JobState
from benchmarks import first_light, serving
from tests.regions import spread

LOOK_SEC = 0.2
RUN_TIMEOUT_SEC = 900.0
STOP_SEC = 20.0


@dataclass(frozen=True)
class PilotSite:
    """`folder`: where all of it is; `path`: the site's own."""

    folder: Path
    path: Path
    site_id: int

    @contextmanager
    def launcher(
        self,
        mode: JobMode,
        tags: Mapping[str, str],
        settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[psutil.Process]:
        """A launcher that runs jobs with these tags. `settings`: of its section `launcher`."""
        # It outlives the turns of what it is compared with.
        _set(self.path / "settings.yml", {"idle_ttl_sec": RUN_TIMEOUT_SEC, **(settings or {})})
        command = [sys.executable, "-m", "balsam.launcher.main", "-j", mode.value, "-t", "600"]
        for key, value in tags.items():
            command += ["--tag", f"{key}={value}"]
        with (self.path / "log" / "launcher.out").open("ab") as output:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "BALSAM_SITE_PATH": str(self.path), **(environment or {})},
                start_new_session=True,
            )
        try:
            yield psutil.Process(child.pid)
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(STOP_SEC)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def server_pid(self) -> int:
        from balsam.server import daemon

        pid = daemon.status(self.folder / "server").pid
        assert pid is not None, "it runs as long as this site is used"
        return pid

    @contextmanager
    def records(self) -> Iterator[Records]:
        url = f"sqlite:///{self.folder / 'server' / 'balsam.db'}"
        with closing(serving.connect(serving.SQLITE, url)) as conn:
            yield Records(conn)


@contextmanager
def pilot_site(folder: Path) -> Iterator[PilotSite]:
    """A server, a site and its agent in a folder."""
    spread(folder)
    with first_light.own_site(folder) as site_id:
        yield PilotSite(folder, folder / "site", site_id)


class Records:
    """The events that entered the database after this was made."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        [(self._after,)] = conn.execute("SELECT coalesce(max(id), 0) FROM events").fetchall()

    def count(self, state: JobState) -> int:
        """Jobs that entered the state."""
        statement = "SELECT count(*) FROM events WHERE id > ? AND to_state = ?"
        [(number,)] = self._conn.execute(statement, (self._after, state.value)).fetchall()
        return int(number)

    def count_runs(self) -> int:
        """Starts and ends of runs that have ended well."""
        return self.count(JobState.running) + self.count(JobState.run_done)

    def wait_finished(self, count: int) -> float:
        """Waits until so many jobs have finished; the seconds from the first start to the last of them."""
        deadline = time.monotonic() + RUN_TIMEOUT_SEC
        while self.count(JobState.job_finished) < count:
            if self.count(JobState.failed) or time.monotonic() > deadline:
                raise SystemExit("not all jobs have finished: see the logs of the site")
            time.sleep(LOOK_SEC)
        return self._last(JobState.job_finished) - self._first(JobState.running)

    def _first(self, state: JobState) -> float:
        """When the first job was in that state, by the launcher's clock: the same as the server's here."""
        return self._one("min(timestamp)", state) / 1e6

    def _last(self, state: JobState) -> float:
        """When the database was told of the last one."""
        return self._one("max(received)", state) / 1e6

    def _one(self, what: str, state: JobState) -> int:
        statement = f"SELECT {what} FROM events WHERE id > ? AND to_state = ?"
        [(number,)] = self._conn.execute(statement, (self._after, state.value)).fetchall()
        return int(number)


class OwnCpu:
    """What processes have used themselves of the processors since this was made; their ended children not."""

    def __init__(self, process: psutil.Process) -> None:
        self._before = _own_cpu(process)
        self._process = process

    def seconds(self) -> float:
        return sum(
            after - self._before.get(one, 0.0)
            for one, after in _own_cpu(self._process).items()
            if one in self._before
        )


def _own_cpu(process: psutil.Process) -> dict[psutil.Process, float]:
    found = {}
    for one in serving.family(process):
        try:
            found[one] = float(sum(one.cpu_times()[:2]))
        except psutil.NoSuchProcess:
            continue
    return found


def _set(path: Path, values: Mapping[str, Any]) -> None:
    content = yaml.safe_load(path.read_text())
    content["launcher"].update(values)
    path.write_text(yaml.safe_dump(content))
