"""The agent of a site: `python -m balsam.site.agent SITE_PATH`.

Reads settings and environment, builds the services and watches over them until it is told to stop.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import pwd
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from balsam.client.errors import ClientError
from balsam.client.transport import Client
from balsam.platform.machine import LOCAL, nodes_by_facts
from balsam.platform.nodes import Node, detect_local
from balsam.platform.schedulers.allocation import Scheduler
from balsam.platform.schedulers.batch_system import BatchScheduler, BatchSystem, SubmitForm
from balsam.platform.schedulers.commands import CommandLine
from balsam.platform.schedulers.flux import Flux
from balsam.platform.schedulers.grid_engine import GridEngine
from balsam.platform.schedulers.local import LocalScheduler
from balsam.platform.schedulers.lsf import Lsf
from balsam.platform.schedulers.pbs import Pbs
from balsam.platform.schedulers.slurm import Slurm
from balsam.runtime import logs
from balsam.runtime.guard_link import GuardLink
from balsam.runtime.postman import Postman
from balsam.runtime.settings import (
    InvalidSettings,
    ProcessingSettings,
    SchedulerSettings,
    Settings,
    notes_on,
    refuse_unserved,
)
from balsam.runtime.shared_pool import SharedWorkerPool
from balsam.runtime.site_folder import SiteFolder, SiteFolderError, unusable
from balsam.runtime.spool import SpoolFolder
from balsam.runtime.worker_pool import WorkerSetting
from balsam.site import pid_file
from balsam.site.labels import Labels, site_token
from balsam.site.lease import LEASE_WAIT_SEC, SiteLease
from balsam.site.listener import ListenerService
from balsam.site.messages import SiteMessages
from balsam.site.presence import FolderService, PresenceService
from balsam.site.processing import AppCache, ProcessingService
from balsam.site.results import ResultService
from balsam.site.scheduler import SchedulerService
from balsam.site.services import Service, Stop, supervise
from balsam.site.session import AgentSession, LeaseService
from balsam.site.spools import SpoolService

log = logging.getLogger("balsam.site.agent")

CLIENT_RETRY_SEC = 1.0  # each service has its own endless loop
FIRST_CONTACT_SEC = 10.0
JOIN_SEC = 1.0
FAREWELL_SEC = 1.0
CERTAIN_SEC = 120.0  # for so long a submission that was not answered may turn up in a batch system
BATCH_SYSTEMS: dict[str, Callable[[SubmitForm], BatchSystem]] = {
    "slurm": Slurm,
    "pbs": Pbs,
    "lsf": Lsf,
    "flux": Flux,
    "grid_engine": GridEngine,
}
REFUSALS = (SiteFolderError, InvalidSettings, pid_file.AgentRuns)


class HookDesk:
    """All that runs hooks: the lease, the workers with their guard, and the two services that use them."""

    name = "guard"

    def __init__(self, site: SiteFolder, client: Client, settings: ProcessingSettings, stop: Stop) -> None:
        self._guard = GuardLink()
        environment = {**os.environ, **self._guard.environment}
        setting = WorkerSetting(site_path=str(site.path), environment=environment)
        self._pool = SharedWorkerPool(settings.num_workers, setting, self._guard)
        self.session = AgentSession(client, site.site_id, site.agent_session_path)
        self.apps = AppCache(client, site.site_id)
        self.results = ResultService(
            client,
            self.session,
            on_sent=lambda job_ids: self.processing.settled(job_ids),
            on_session_over=lambda: self.processing.check_session(),
        )
        self.processing = ProcessingService(
            client,
            self.session,
            self.apps,
            self._pool,
            site.data_path,
            settings.prefetch_depth,
            stop.bell(),
            self.results.put,
        )
        self._postman = Postman(partial(site.client, retry_sec=CLIENT_RETRY_SEC), site.data_path)
        self.messages = SiteMessages(self.session, self._postman, self.processing.kill)

    def start(self) -> list[Service]:
        """Starts the workers' thread; the services that are to be supervised."""
        self._pool.start()
        self._postman.start()
        return [self.processing, self.results, LeaseService(self.session), self]

    def run(self, stop: Stop) -> None:
        """The guard's heartbeat."""
        while not stop.is_set():
            if not self._guard.beat():
                if self._guard.renew().acted:
                    log.warning("this agent was frozen for a while: its hooks were ended and run again")
                self._pool.resume()
            stop.event.wait(self._guard.beat_sec)

    def apps_changed(self) -> None:
        self.apps.forget()
        self.processing.bell.ring()

    def close(self, farewell: Client) -> None:
        """Ends the workers, then their lease, which hooks must not outlive. Raises ClientError."""
        self._pool.stop()
        self._guard.end()
        self.session.end(farewell)


@dataclass
class Agent:
    """The services of one site, built and not yet started."""

    site: SiteFolder
    stop: Stop
    presence: PresenceService
    desk: HookDesk | None
    scheduler: SchedulerService | None
    services: list[Service]

    @classmethod
    def build(cls, site: SiteFolder, stop: Stop) -> Agent:
        settings = site.settings
        for note in notes_on(settings):
            log.warning("settings.yml: %s", note)
        client = site.client(retry_sec=CLIENT_RETRY_SEC)
        presence = PresenceService(site, client, known_nodes(settings))
        spools = SpoolService(SpoolFolder(site.spool_path), client, stop.bell())
        services: list[Service] = [FolderService(site), spools]
        on_message: dict[str, Callable[[], None]] = {}
        desk = scheduler = None
        if settings.scheduler is not None:
            scheduler = build_scheduler(site, client, settings.scheduler, stop, spools, presence.lease)
            spools.on_settled = scheduler.bell.ring
            services.append(scheduler)
            on_message["batch-jobs"] = scheduler.bell.ring
        if settings.processing is not None:
            desk = HookDesk(site, client, settings.processing, stop)
            on_message |= {"events": desk.processing.bell.ring, "apps": desk.apps_changed}
        asked = desk.messages if desk else None
        services.append(ListenerService(client, site.site_id, on_message, asked))
        return cls(site, stop, presence, desk, scheduler, services)

    def start(self) -> list[threading.Thread]:
        """Nothing but the lease is asked for until the site is this agent's."""
        services = self.services + (self.desk.start() if self.desk else [])
        first = supervise(self.presence, self.stop)
        return [first, *(supervise(service, self.stop, self.presence.working) for service in services)]

    def close(self, threads: list[threading.Thread]) -> None:
        """Waits a moment for the services; what hangs in a request is left behind."""
        if self.scheduler is not None:
            self.scheduler.close()
        deadline = time.monotonic() + JOIN_SEC
        for thread in threads:
            if thread.name != ListenerService.name:  # it waits for the server's next word
                thread.join(max(0.0, deadline - time.monotonic()))
        farewell = self.site.client(retry_sec=0.0, timeout_sec=FAREWELL_SEC)
        with contextlib.suppress(ClientError):  # then nothing more is asked: the stop is not to be slow
            if self.desk is not None:
                self.desk.close(farewell)
            # Last: whoever is let in after us must find nothing of ours at work.
            self.presence.lease.end(farewell)


def known_nodes(settings: Settings) -> list[Node] | None:
    """One node of each kind that this site's launchers run on; None where only they will see it."""
    if settings.scheduler is None:
        return None
    if settings.scheduler.name == LOCAL:
        return detect_local(os.environ)
    return nodes_by_facts(settings.launcher.node)


def build_scheduler(
    site: SiteFolder,
    client: Client,
    settings: SchedulerSettings,
    stop: Stop,
    spools: SpoolService,
    lease: SiteLease,
) -> SchedulerService:
    """The service for the scheduler that the settings name."""
    is_local = settings.name == LOCAL
    scheduler = LocalScheduler(site.job_path / "local") if is_local else batch_scheduler(settings, os.environ)
    return SchedulerService(
        site,
        client,
        settings,
        scheduler,
        Labels(site_token(site.path), older=is_local),
        stop.bell(),
        spools.settled,
        lease.may_submit,
        tell=lease.tell,
        certain_sec=0.0 if is_local else CERTAIN_SEC,
    )


def batch_scheduler(settings: SchedulerSettings, environ: Mapping[str, str]) -> Scheduler:
    """The batch system of this machine, spoken to by its commands."""
    system = BATCH_SYSTEMS[settings.name](settings.form)
    commands = CommandLine(system.surroundings, environ)
    return BatchScheduler(system, commands, user_name(), settings.poll_period)


def user_name() -> str:
    """By whom this process runs, whatever variables say."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


class Starter:
    """The pipe to whoever started the agent: one sentence, then it is closed."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        if fd is not None:
            os.set_inheritable(fd, False)

    def say(self, word: str, sentence: str) -> None:
        if self._fd is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._fd, f"{word} {sentence}\n".encode())
            os.close(self._fd)
            self._fd = None


def serve(site: SiteFolder, starter: Starter, log_path: Path) -> int:
    """Works until SIGTERM, SIGINT or the end of the site's token; the exit code."""
    stop = Stop()
    signals = Signals()
    agent = Agent.build(site, stop)
    threads = agent.start()
    log.info("the agent of site %d, %s, works as process %d", site.site_id, site.path, os.getpid())
    if not agent.presence.tried.wait(FIRST_CONTACT_SEC) and agent.presence.waits.is_set():
        agent.presence.tried.wait(LEASE_WAIT_SEC)
    if not stop.is_set():
        starter.say("ready", ready_sentence(site, log_path, agent.presence.reached))
    signals.wait(stop)
    stop.set()
    agent.close(threads)
    if stop.reason is not None:
        log.error("the agent ends: %s", stop.reason)
        starter.say("failed", stop.reason)
        return 1
    log.info("the agent has stopped")
    return 0


def ready_sentence(site: SiteFolder, log_path: Path, reached: bool) -> str:
    where = (
        f"the agent of {site.path} works on {socket.gethostname()}, process {os.getpid()}; log: {log_path}"
    )
    if reached:
        return where
    return f"{where}. {site.login.api_root} does not answer yet: it goes on trying"


class Signals:
    """SIGTERM and SIGINT, waited for. A handler that sets an event of `threading` could deadlock."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        # Unheeded by a handler, not by SIG_IGN, which children would inherit.
        signal.signal(signal.SIGHUP, lambda *_: None)

    def wait(self, stop: Stop) -> None:
        """Until one comes or the stop is set otherwise."""
        while not stop.is_set():
            if select.select([self._reader], [], [], 0.5)[0] and self._came():
                return

    def _came(self) -> bool:
        return any(number in (signal.SIGTERM, signal.SIGINT) for number in self._reader.recv(64))


def main() -> int:
    args = _arguments()
    starter = Starter(args.ready_fd)
    try:
        site = SiteFolder(args.site_path)
        log_path = args.log_file or logs.new_log_path(site.log_path, "service")
        site.log_path.mkdir(exist_ok=True)
        refuse_unserved(site.settings_path, site.settings)
        logs.log_to(log_path, site.settings.logging, [site.token or ""])
        pid_file.take(site)
    except REFUSALS as exc:
        print(exc, file=sys.stderr)
        starter.say("failed", str(exc))
        return 1
    except OSError as exc:
        starter.say("failed", unusable(exc))
        return 1
    try:
        return serve(site, starter, log_path)
    except Exception:  # the top of the process
        log.exception("the agent crashed")
        return 1
    finally:
        pid_file.release(site)
        logging.shutdown()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="balsam.site.agent", description=__doc__)
    parser.add_argument("site_path", type=Path)
    parser.add_argument("--log-file", type=Path, help="default: log/service_<time>.log in the site folder")
    parser.add_argument("--ready-fd", type=int, help="a pipe that is told when the agent works")
    return parser.parse_args()


if __name__ == "__main__":
    code = main()
    # Threads that hang in a request must not hold up the end.
    os._exit(code)
