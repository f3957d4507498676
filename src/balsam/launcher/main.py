"""The pilot job: `python -m balsam.launcher.main --batch-job N -j MODE -t MINUTES`, within an allocation."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from balsam.client.errors import ClientError
from balsam.client.stream import follow
from balsam.client.transport import Client
from balsam.core.endings import EndCode
from balsam.core.start import command as start_command
from balsam.core.states import RUNNABLE_STATES, JobMode
from balsam.launcher import alone, ending_signals, partitions
from balsam.launcher.courier import Courier, Terms
from balsam.launcher.crew import Crew, CrewSetting
from balsam.launcher.executor import Callbacks, Executor, LocalExecutor
from balsam.launcher.lines import WorkerLine
from balsam.launcher.loop import Loop
from balsam.launcher.messages import Messages, Overhearing
from balsam.launcher.mpi_executor import MpiExecutor
from balsam.launcher.news import Mailbox, News, Opened, Rejected
from balsam.launcher.orders import Orders, UsageError, parse_orders
from balsam.launcher.rendezvous import is_here
from balsam.launcher.setting import Limits, Surroundings
from balsam.platform import mpi
from balsam.platform.machine import detect_nodes
from balsam.platform.mpi.launch import LaunchError
from balsam.platform.nodes import Node, UnknownNodes, is_in_allocation
from balsam.platform.schedulers.allocation_end import seconds_left
from balsam.runtime.guard_link import GuardLink
from balsam.runtime.logs import log_to, new_log_path
from balsam.runtime.postman import Postman
from balsam.runtime.settings import InvalidSettings
from balsam.runtime.site_folder import SiteFolder, SiteFolderError, unusable
from balsam.runtime.spool import SpoolFolder
from balsam.runtime.worker_pool import WorkerSetting

log = logging.getLogger(__name__)

HTTP_SEC = 20.0  # an answer that takes longer counts as none: heartbeats wait behind it
FLUSH_SEC = 20.0  # for the last reports, after the last run has ended
MARGIN_SEC = 15.0  # before the allocation ends: for ending the runs and for the last reports
MARGIN_SHARE = 0.1  # ... of a short one
GONE_SEC = 120.0  # after its wall time a launcher that is there yet hangs
MAX_KINDS = 100  # of nodes, that the server is told of
SWITCH_SEC = 0.0005  # the loop starts runs while the courier encodes: neither may keep the other waiting


def stop_at(started: float, wall_time_min: float, left_sec: float | None = None) -> float:
    """When runs are to be ended, so that their ends are reported before the allocation is over.

    `left_sec`: until the allocation ends, as its batch system has it, which began to count before us.
    """
    wall_sec = wall_time_min * 60
    end = started + (wall_sec if left_sec is None else min(wall_sec, max(0.0, left_sec)))
    return end - min(MARGIN_SEC, wall_sec * MARGIN_SHARE)


def run_environment(orders: Orders, site: SiteFolder, nodes: Sequence[Node]) -> dict[str, str]:
    """What every run finds in its environment beside its own variables."""
    return {
        **os.environ,
        "BALSAM_JOB_MODE": orders.mode,
        "BALSAM_LAUNCHER_NODES": str(len(nodes)),
        "BALSAM_SITE_PATH": str(site.path),
    }


def kinds_of(nodes: Sequence[Node]) -> list[dict[str, int]]:
    """What nodes hold, each kind once."""
    return [dict(kind) for kind in dict.fromkeys(tuple(node.kind.items()) for node in nodes)]


def chosen(nodes: Sequence[Node], names: Sequence[str]) -> list[Node]:
    """The nodes with these names, all without any; raises UsageError for one that is not there."""
    by_name = {node.name: node for node in nodes}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise UsageError(f"this allocation has no node {missing[0]}; it has {', '.join(by_name)}")
    return [by_name[name] for name in names] if names else list(nodes)


def needs_crew(mode: JobMode, nodes: Sequence[Node]) -> bool:
    """Whether runs are started by workers: there are nodes where this process is not."""
    return mode is JobMode.serial and (len(nodes) > 1 or not is_here(nodes[0].name, os.environ))


def require_workers(launcher: str, nodes: Sequence[Node]) -> None:
    """Raises UsageError where nothing can start workers on these nodes."""
    try:
        line = mpi.find(launcher).worker_command([node.name for node in nodes], ["true"])
    except LaunchError as exc:
        raise UsageError(str(exc)) from exc
    if shutil.which(line[0]) is None:
        raise UsageError(
            f"there is no program {line[0]!r} on the PATH to start workers on the nodes with: load its "
            "module in job-template.sh, or choose another launcher.mpi_app_launcher in settings.yml"
        )


class Launcher:
    """Builds the parts, runs them in order, ends them in reverse."""

    def __init__(self, orders: Orders, site: SiteFolder, nodes: Sequence[Node], log_path: Path) -> None:
        self._orders = orders
        self._site = site
        self._nodes = nodes
        self._log_path = log_path
        left_sec = seconds_left(os.environ)
        self._end_at = stop_at(time.monotonic(), orders.wall_time_min, left_sec)
        self._mailbox = Mailbox()
        self._postman = Postman(self._client, site.data_path)
        self._courier = Courier(self._client, self._terms(), self._post, SpoolFolder(site.spool_path))
        self._overhearing = Overhearing(self._courier, self._postman)
        self._messages = Messages(self._postman, self._mailbox.post, self._overhearing.runs)
        self._unfollow = threading.Event()

    def run(self) -> int:
        """The exit code."""
        self._courier.start()
        while self._mailbox.wait(max(0.0, self._end_at - time.monotonic())):
            for news in self._mailbox.take():
                if isinstance(news, Opened):
                    self._mailbox.post(news)
                    return self._run(news.lease_sec)
                if isinstance(news, Rejected):
                    return _fail(f"the server refuses this launcher: {news.sentence}")
        return _fail("the server did not answer before the wall time was over")

    def _run(self, lease_sec: float) -> int:
        pulse = self._courier.pulse
        guard = GuardLink(lease_sec, pulse.seconds)
        loop = Loop(self._surroundings(lease_sec), self._limits(), guard, self._mailbox)
        on_signals(loop)
        pulse.start(guard, loop.beat)
        self._postman.start()
        try:
            loop.run(self._overhearing)
            told = self._courier.finish(FLUSH_SEC)
        finally:
            pulse.stop()
            guard.end()
        if not told:
            log.error("not everything could be reported: the server did not answer in time")
        return 0 if told else 1

    def _client(self) -> Client:
        login = SiteFolder(self._site.path).login  # read anew: the token may have been renewed
        return Client(
            login.api_root, login.token, ca_file=login.ca_file, read_timeout=HTTP_SEC, retry_sec=0.5
        )

    def _terms(self) -> Terms:
        orders, settings = self._orders, self._site.settings
        tags = dict(orders.tags or settings.filter_tags)
        return Terms(
            session={
                "site_id": self._site.site_id,
                "batch_job_id": orders.batch_job_id,
                "fenced": True,
                "partition": orders.partition,
                "num_nodes": len(self._nodes),
                "takes": {"nodes": kinds_of(self._nodes)[:MAX_KINDS], "filter_tags": tags},
            },
            acquire={
                "states": sorted(RUNNABLE_STATES),
                "serial_only": orders.mode is JobMode.serial,
                "max_nodes_per_job": len(self._nodes),
                "gpus_per_node": max(len(node.gpus) for node in self._nodes),
                "mem_mb_per_node": max(node.mem_mb for node in self._nodes),
                "filter_tags": tags,
                "sort_by": settings.launcher.sort_by,
            },
            minutes_left=lambda: (self._end_at - time.monotonic()) / 60,
            gone_at=self._end_at + GONE_SEC,
        )

    def _surroundings(self, lease_sec: float) -> Surroundings:
        is_mpi = self._orders.mode is JobMode.mpi
        return Surroundings(
            site_path=self._site.path,
            data_path=self._site.data_path,
            allocation=self._nodes,
            nodes=[] if needs_crew(self._orders.mode, self._nodes) else self._nodes,
            environment=run_environment(self._orders, self._site, self._nodes),
            make_executor=partial(self._executor, lease_sec),
            may_share_nodes=not is_mpi or self._site.settings.launcher.mpirun_allows_node_packing,
            is_mpi=is_mpi,
            in_allocation=is_in_allocation(os.environ),
        )

    def _executor(
        self,
        lease_sec: float,
        selector: selectors.BaseSelector,
        setting: WorkerSetting,
        guard: GuardLink,
        callbacks: Callbacks,
    ) -> Executor:
        settings = self._site.settings.launcher
        launcher = mpi.find(settings.mpi_app_launcher)
        if needs_crew(self._orders.mode, self._nodes):
            line = WorkerLine(
                mpi=launcher,
                folder=self._site.job_path,
                command=start_command("balsam.launcher.worker"),
                output=self._log_path.with_suffix(".workers"),
                site_path=setting.site_path,
                environment=setting.environment,
            )
            crew = CrewSetting(self._nodes, line, lease_sec, settings.max_output_mb << 20)
            return Crew(selector, guard, callbacks, crew, self._courier.pulse.seconds)
        local = LocalExecutor(selector, setting, guard, callbacks, settings.max_output_mb << 20)
        if self._orders.mode is JobMode.serial:
            return local
        return MpiExecutor(local, launcher, self._site.path, setting.environment or {}, self._nodes)

    def _limits(self) -> Limits:
        settings = self._site.settings.launcher
        return Limits(
            end_at=self._end_at,
            idle_ttl_sec=settings.idle_ttl_sec,
            prefetch_per_slot=settings.serial_mode_prefetch_per_rank,
            error_tail_lines=settings.error_tail_num_lines,
            stop_on_cut=settings.on_cut == "stop",
            max_runs=settings.max_concurrent_mpiruns if self._orders.mode is JobMode.mpi else None,
            long_first=settings.sort_by == "long_large_first",
            warn_at=self._end_at - settings.warning_sec if settings.warning_signal else None,
            warning=signal.Signals[settings.warning_signal or "SIGUSR1"],
        )

    def _post(self, news: News) -> None:
        self._mailbox.post(news)
        if isinstance(news, Opened):
            self._follow_stream(news.session_id)

    def _follow_stream(self, session_id: int) -> None:
        """Wakes the courier when there is something to acquire, and brings messages; without it, it polls."""
        self._unfollow.set()  # the stream of an earlier session ends with its next word
        self._unfollow = threading.Event()
        args = (session_id, self._unfollow)
        self._courier.set_sighted(False)  # until the stream says hello
        try:
            threading.Thread(target=self._watch, args=args, name="stream", daemon=True).start()
        except RuntimeError as exc:  # this host has no threads left; the session goes on without
            log.warning("the stream can't be followed: %s", exc)

    def _watch(self, session_id: int, stop: threading.Event) -> None:
        wanted = {
            "site_id": self._site.site_id,
            "to_state": sorted(RUNNABLE_STATES),
            "session_id": session_id,
        }
        while not stop.is_set():
            try:
                client = self._client()
                for message in follow(client, "/stream", wanted, stop):
                    if stop.is_set():
                        return  # or its end would look like a cut of the one after it
                    if message.name == "messages":
                        self._messages.take(session_id, message.data)
                    elif message.name == "cut":
                        self._look_for_messages(client, session_id)
                    self._tell(message.name)
            except Exception as exc:  # without it there were no messages any more
                log.warning(
                    "the stream is refused or fails: %s", exc, exc_info=not isinstance(exc, ClientError)
                )
                self._courier.set_sighted(False)
                stop.wait(30)

    def _look_for_messages(self, client: Client, session_id: int) -> None:
        """Where something on the way keeps streams back, answers still come through."""
        with contextlib.suppress(ClientError):
            self._messages.take(session_id, client.get(f"/sessions/{session_id}/messages"))

    def _tell(self, name: str) -> None:
        if name == "cut":
            self._courier.set_sighted(False)
        elif name in ("hello", "reset"):
            self._courier.set_sighted(True)
        elif name == "apps":
            self._courier.forget_apps()
        if name in ("hello", "reset", "events", "freed", "apps"):
            self._courier.hint()


def _fail(sentence: str) -> int:
    """The exit code. Without a session the allocation's own output is where the user is told."""
    log.error("%s", sentence)
    print(f"balsam launcher: {sentence}", file=sys.stderr)
    return 1


def on_signals(loop: Loop) -> None:
    """Those with which terminals, batch systems and users end an allocation end the loop in good order."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    for number in ending_signals.heeded():
        signal.signal(number, lambda _number, _frame: None)

    def received() -> None:
        number = signal.Signals(ours.recv(64)[0])
        loop.stop(EndCode.signal, f"the launcher got {number.name}, as from whoever ends an allocation")
        theirs.fileno()  # keeps the socket of the wakeup alive as long as the loop holds this function

    loop.watch_signals(ours.fileno(), received)


def log_path(site: SiteFolder, mode: JobMode) -> Path:
    """`serial_mode_DATE.N.log`: N is the first that is free."""
    stem = new_log_path(site.log_path, f"{mode}_mode").stem
    number = 0
    while True:
        path = site.log_path / f"{stem}.{number}.log"
        try:
            path.touch(exist_ok=False)
            return path
        except FileExistsError:
            number += 1


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        orders = parse_orders(sys.argv[1:] if arguments is None else arguments)
        site = SiteFolder.find()
        if site is None:
            raise UsageError("no site: set BALSAM_SITE_PATH to the site's folder")
        nodes = chosen(detect_nodes(site.settings.launcher.node, os.environ), orders.nodes)
        path = log_path(site, orders.mode)
        log_to(path, site.settings.logging, [site.token or ""])
        if orders.parts:
            return partitions.run(orders, nodes)
        if needs_crew(orders.mode, nodes):
            require_workers(site.settings.launcher.mpi_app_launcher, nodes)
        if orders.batch_job_id is not None:
            alone.take(site.job_path, orders.batch_job_id, orders.partition)
    except (
        alone.LauncherRuns,
        UsageError,
        UnknownNodes,
        SiteFolderError,
        InvalidSettings,
        ClientError,
    ) as exc:
        print(f"balsam launcher: {exc}", file=sys.stderr)
        return 2
    except OSError as exc:
        print(f"balsam launcher: {unusable(exc)}", file=sys.stderr)
        return 2
    sys.setswitchinterval(SWITCH_SEC)
    log.info("launcher of batch job %s on %s", orders.batch_job_id, socket.gethostname())
    try:
        return Launcher(orders, site, nodes, path).run()
    except Exception:
        log.exception("the launcher has failed")
        raise


if __name__ == "__main__":
    sys.exit(main())
