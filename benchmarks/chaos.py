"""Kills parts of a working Balsam at random instants, and counts what was lost.

    python benchmarks/chaos.py [--quick] [--json FILE] [--kills N] [--seed N] [--engine sqlite|postgresql]

A server with leases of 3 s, a site with an agent, and two allocations of two (virtual) nodes each, under a
steady load of jobs. At random instants `kill -9` takes a leader, a worker of a node, a guard, a Python
worker, a job, the agent, the server or the database; now and then a leader is frozen for longer than its
lease. What died is started again as its operator would. The verdict rests on two things only: the server's
API, and a file to which every run itself appends when it starts, goes on and ends.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from balsam.client.errors import ClientError
from balsam.client.transport import Client
from balsam.core.states import DONE_STATES, JobState, is_legal_walk
from balsam.runtime.site_folder import SiteFolder, create_site_folder
from balsam.sdk.application import ApplicationDefinition
from balsam.sdk.context import session
from balsam.site.processes import agent_status, start_agent, stop_agent
from benchmarks import report
from benchmarks.report import Row, less_is_better
from tests.launcher.virtual_nodes import VirtualNodes
from tests.services import DeployedServer, EmbeddedServer, PostgresServer, new_user

LEASE_SEC = 3.0
KILLS, QUICK_KILLS = 200, 20
PAUSE_SEC = (0.3, 3.0)  # between two kills
FREEZE_SEC = LEASE_SEC * 1.5
AHEAD = 30  # jobs that wait
ALLOCATIONS, NODES = 2, 2
SETTLE_SEC = 240.0

SCRIPT = """#!/bin/bash
# One run: says when it starts, that it goes on, and when it ends.
say() { echo "$1 $BALSAM_JOB_ID $$ $EPOCHREALTIME" >> "$2"; }
say start "$1"
for _ in $(seq "$2"); do sleep 0.1; say beat "$1"; done
say end "$1"
"""


class Step(ApplicationDefinition):
    """Appends to the diary while it runs."""

    command_template = "{{ script }} {{ diary }} {{ beats }}"


class PythonStep(ApplicationDefinition):
    """The same in a warm Python worker."""

    def run(self, diary: str, beats: int) -> int:
        import time

        def say(word: str) -> None:
            line = f"{word} {os.environ['BALSAM_JOB_ID']} {os.getpid()} {time.time():.6f}\n"
            with open(diary, "a") as file:  # noqa: PTH123 - user code as it is
                file.write(line)

        say("start")
        for _ in range(beats):
            time.sleep(0.1)
            say("beat")
        say("end")
        return beats


@dataclass
class Verdict:
    """What the API and the diary say of all jobs."""

    jobs: int
    states: Counter[str]
    unfinished: list[int]
    unreported: list[int]  # have not exactly one end in their events
    illegal: list[int]
    overlapping: list[int]
    repeated: list[int]  # ran to their end more than once: reported once all the same

    @property
    def faults(self) -> dict[str, list[int]]:
        return {
            "jobs that did not end": self.unfinished,
            "jobs without exactly one end in their events": self.unreported,
            "jobs whose events are no legal walk": self.illegal,
            "jobs that two processes ran at once": self.overlapping,
        }


@dataclass
class Campaign:
    """The stage, its actors, and who kills them."""

    folder: Path
    seed: int
    engine: str
    dice: random.Random = field(init=False)
    log: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.diary = self.folder / "diary"
        self.script = self.folder / "run.sh"

    def note(self, text: str) -> None:
        self.log.append(f"{time.time():.3f} {text}")
        with (self.folder / "chaos.log").open("a") as file:
            file.write(self.log[-1] + "\n")

    # ---- the stage ----

    @contextlib.contextmanager
    def staged(self) -> Iterator[None]:
        self.script.write_text(SCRIPT)
        self.script.chmod(0o755)
        self.diary.touch()
        with contextlib.ExitStack() as stack:
            self._start_server(stack)
            stack.callback(self.client.close)
            virtual = VirtualNodes(self.folder / "nodes", [f"n{number}" for number in range(NODES)])
            self.site = create_site_folder(self.folder / "site", "chaos", self.client)
            self._settle_site(virtual.environment)
            stack.callback(self._end_site)
            started = start_agent(self.site)
            assert started.started, started.sentence
            with session(self.client):
                for app in (Step, PythonStep):
                    app.site = self.site.site_id
                    app.sync()
            self.apps = [app.registered_id(self.client) for app in (Step, PythonStep)]
            yield

    def _start_server(self, stack: contextlib.ExitStack) -> None:
        self.postgres: PostgresServer | None = None
        if self.engine == "sqlite":
            embedded = EmbeddedServer(self.folder / "server", lease_sec=LEASE_SEC)
            embedded.start()
            stack.callback(embedded.kill)
            self.client = embedded.client(retry_sec=60.0)

            def restart() -> None:
                embedded.kill()
                embedded.start()

            self.restart_server: Callable[[], None] = restart
            return
        self.postgres = stack.enter_context(PostgresServer(durable=True))
        deployed = stack.enter_context(
            DeployedServer(self.folder / "server", self.postgres.new_database(), lease_sec=LEASE_SEC)
        )
        token = new_user(deployed.url).token
        self.client = Client(deployed.url, token, retry_sec=60.0)
        self.restart_server = lambda: self._restart_deployed(deployed)

    def _restart_deployed(self, deployed: DeployedServer) -> None:
        for process in [psutil.Process(deployed.pid), *psutil.Process(deployed.pid).children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        deployed.__exit__(None, None, None)
        deployed.__enter__()

    def _settle_site(self, environment: dict[str, str]) -> None:
        content = yaml.safe_load(self.site.settings_path.read_text())
        content["launcher"].update(compute_node="pbs", idle_ttl_sec=600)
        content["scheduler"]["allowed_queues"]["local"]["max_nodes"] = NODES
        self.site.settings_path.write_text(yaml.safe_dump(content))
        lines = self.site.template_path.read_text().splitlines()
        exports = [f"export {name}='{value}'" for name, value in environment.items()]
        self.site.template_path.write_text("\n".join([lines[0], *exports, *lines[1:]]) + "\n")
        self.site = SiteFolder(self.site.path)

    def _end_site(self) -> None:
        stop_agent(self.site)
        for process in self._ours("balsam.launcher", "local_wrapper", "python_worker", "run.sh"):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
                process.kill()

    # ---- the load ----

    def feed(self) -> None:
        """Keeps jobs waiting and allocations running."""
        with contextlib.suppress(ClientError):
            counts = self.client.get("/jobs/", {"limit": 0, "state": ["PREPROCESSED", "RESTART_READY"]})
            for _ in range((AHEAD - counts["count"]) // 10):
                self._submit(10)
        with contextlib.suppress(ClientError):
            active = self.client.get("/batch-jobs/", {"state": ["pending_submission", "queued", "running"]})
            for _ in range(ALLOCATIONS - active["count"]):
                self.client.post("/batch-jobs/", self._allocation())

    def _submit(self, count: int) -> None:
        rows: list[dict[str, Any]] = []
        for _ in range(count):
            beats = self.dice.randint(1, 8)
            python = self.dice.random() < 0.3
            given: dict[str, Any] = {"diary": str(self.diary), "beats": beats}
            if not python:
                given["script"] = str(self.script)
            number = len(self.ids) + len(rows)
            rows.append(
                {
                    "app_id": self.apps[python],
                    "workdir": f"run/{number}",
                    "node_packing_count": 2,
                    "parameters_json": given,
                }
            )
        self.ids += [row["id"] for row in self.client.post("/jobs/", rows)]

    def _allocation(self) -> dict[str, Any]:
        return {
            "site_id": self.site.site_id,
            "num_nodes": NODES,
            "wall_time_min": 30,
            "job_mode": "serial",
            "project": "local",
            "queue": "local",
        }

    # ---- the kills ----

    def kill_something(self) -> None:
        victims: dict[str, Callable[[], bool]] = {
            "leader": lambda: self._kill("balsam.launcher.main"),
            "worker": lambda: self._kill("balsam.launcher.worker"),
            "guard": lambda: self._kill("guard.py"),
            "python worker": lambda: self._kill("balsam.runtime.python_worker"),
            "job": lambda: self._kill("run.sh"),
            "agent": self._kill_agent,
            "server": self._kill_server,
            "freeze": self._freeze,
        }
        if self.postgres is not None:
            victims["database"] = self._kill_database
        name = self.dice.choice(sorted(victims))
        if victims[name]():
            self.kills[name] += 1

    def _ours(self, *words: str) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                line = " ".join(process.cmdline())
                if (
                    any(word in line for word in words)
                    and "hydra" not in line
                    and self._is_ours(process, line)
                ):
                    found.append(process)
        return sorted(found, key=lambda process: process.pid)

    def _is_ours(self, process: psutil.Process, line: str) -> bool:
        if str(self.folder) in line:
            return True
        if "guard.py" in line:  # it has its owner's mark and no other word of the site
            parent = process.parent()
            return parent is not None and str(self.site.path) in str(parent.environ().get("BALSAM_SITE_PATH"))
        return process.environ().get("BALSAM_SITE_PATH") == str(self.site.path)

    def _kill(self, word: str) -> bool:
        found = self._ours(word)
        if not found:
            return False
        victim = self.dice.choice(found)
        self.note(f"kill -9 {victim.pid} {word}")
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
        return True

    def _kill_agent(self) -> bool:
        pid = agent_status(self.site).pid
        if pid is None:
            return False
        self.note(f"kill -9 {pid} agent")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        time.sleep(self.dice.uniform(0.0, 1.0))
        started = start_agent(self.site)
        self.note(started.sentence)
        return True

    def _kill_server(self) -> bool:
        self.note("kill -9 server")
        self.restart_server()
        return True

    def _kill_database(self) -> bool:
        assert self.postgres is not None
        self.note("kill -9 database")
        with contextlib.suppress(psutil.NoSuchProcess):
            postmaster = psutil.Process(int((self.postgres.data / "postmaster.pid").read_text().split()[0]))
            children = postmaster.children(recursive=True)
            for process in [postmaster, *children]:
                process.kill()
            psutil.wait_procs([postmaster, *children], timeout=20)
        self.postgres.start()
        return True

    def _freeze(self) -> bool:
        found = self._ours("balsam.launcher.main")
        if not found:
            return False
        victim = self.dice.choice(found)
        self.note(f"freeze {victim.pid} for {FREEZE_SEC} s")
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.suspend()
            time.sleep(FREEZE_SEC)
            victim.resume()
        return True

    # ---- the verdict ----

    def settle(self) -> None:
        """Lets everything come to its end, in peace."""
        deadline = time.monotonic() + SETTLE_SEC
        while time.monotonic() < deadline and self._open():
            with contextlib.suppress(ClientError):
                self._revive()
            time.sleep(0.5)

    def _revive(self) -> None:
        active = self.client.get("/batch-jobs/", {"state": ["pending_submission", "queued", "running"]})
        if active["count"] == 0:
            self.client.post("/batch-jobs/", self._allocation())
        if agent_status(self.site).pid is None:
            start_agent(self.site)

    def _open(self) -> list[int]:
        return [row["id"] for row in self._all("/jobs/") if row["state"] not in DONE_STATES]

    def verdict(self) -> Verdict:
        rows = self._all("/jobs/")
        assert {row["id"] for row in rows} >= set(self.ids), "acknowledged jobs are there"
        walks = self._walks()
        ends = {i: sum(state in DONE_STATES for state in walk) for i, walk in walks.items()}
        runs = read_diary(self.diary.read_text())
        return Verdict(
            jobs=len(rows),
            states=Counter(row["state"] for row in rows),
            unfinished=[row["id"] for row in rows if row["state"] not in DONE_STATES],
            unreported=[row["id"] for row in rows if ends.get(row["id"]) != 1],
            illegal=[i for i, walk in walks.items() if not is_legal_walk(walk)],
            overlapping=sorted(job for job, attempts in runs.items() if overlap(attempts)),
            repeated=sorted(job for job, tries in runs.items() if sum(one.ended for one in tries) > 1),
        )

    def _walks(self) -> dict[int, list[JobState]]:
        """The states that each job has entered, its first one included; its history is ordered by id."""
        events = sorted(self._all("/events/"), key=lambda event: event["id"])
        walks: dict[int, list[JobState]] = defaultdict(list)
        for event in events:
            walk = walks[event["job_id"]]
            walk += [] if walk else [JobState(event["from_state"])]
            assert walk[-1] == event["from_state"], f"job {event['job_id']}: a hole in its events"
            walk.append(JobState(event["to_state"]))
        return walks

    def _all(self, path: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            page = self.client.get(path, {"limit": 10_000, "count": "no", "after": after})
            rows += page["results"]
            after = page["next"]
            if not after:
                return rows


@dataclass
class Attempt:
    """One process that ran a job, by its own words."""

    pid: int
    start: float
    last: float
    ended: bool = False


def read_diary(text: str) -> dict[int, list[Attempt]]:
    """Each job's attempts, in the order of their starts."""
    runs: dict[int, list[Attempt]] = defaultdict(list)
    for line in text.splitlines():
        word, job, pid, at = line.split()
        attempts = runs[int(job)]
        if word == "start":
            attempts.append(Attempt(int(pid), float(at), float(at)))
            continue
        attempt = next(one for one in reversed(attempts) if one.pid == int(pid))
        attempt.last, attempt.ended = float(at), word == "end"
    return runs


def overlap(attempts: list[Attempt]) -> bool:
    """Whether one started before the one before it had said its last word."""
    ordered = sorted(attempts, key=lambda one: one.start)
    return any(after.start < before.last for before, after in itertools.pairwise(ordered))


def run(folder: Path, kills: int, seed: int, engine: str) -> tuple[Campaign, Verdict]:
    campaign = Campaign(folder, seed, engine)
    with campaign.staged():
        campaign.feed()
        begin = time.monotonic()
        while sum(campaign.kills.values()) < kills:
            campaign.feed()
            time.sleep(campaign.dice.uniform(*PAUSE_SEC))
            campaign.kill_something()
        campaign.note(f"{kills} kills in {time.monotonic() - begin:.0f} s")
        campaign.settle()
        verdict = campaign.verdict()
        campaign.note(f"{verdict}")
    return campaign, verdict


def rows_of(campaign: Campaign, verdict: Verdict) -> list[Row]:
    kills = sum(campaign.kills.values())
    rows = [less_is_better(what, len(ids), "", None, 0) for what, ids in verdict.faults.items()]
    failed = verdict.states[JobState.failed.value]
    return [
        less_is_better("kills", kills, "", None, None),
        less_is_better("jobs", verdict.jobs, "", None, None),
        *rows,
        less_is_better("jobs that failed, their own process being killed", failed, "", None, None),
        less_is_better("jobs that ran to their end more than once", len(verdict.repeated), "", None, None),
    ]


def main() -> int:
    parser = report.parser(__doc__)
    parser.add_argument("--kills", type=int, help=f"default {KILLS}, quick {QUICK_KILLS}")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--engine", choices=["sqlite", "postgresql"], default="sqlite")
    options = parser.parse_args()
    kills = options.kills or (QUICK_KILLS if options.quick else KILLS)
    folder = Path(tempfile.mkdtemp(prefix="balsam-chaos-"))
    print(f"seed {options.seed}; logs in {folder}", flush=True)
    campaign, verdict = run(folder, kills, options.seed, options.engine)
    print(", ".join(f"{name} {count}" for name, count in sorted(campaign.kills.items())))
    code = report.publish(rows_of(campaign, verdict), options.json, "reference")
    if code == 0:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"faults: {verdict.faults}; logs are kept in {folder}")
    return code


if __name__ == "__main__":
    sys.exit(main())
