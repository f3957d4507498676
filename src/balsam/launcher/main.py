"""The pilot job: `python -m balsam.launcher.main --batch-job N -j MODE -t MINUTES`, within an allocation."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balsam.client.errors import ClientError
from balsam.client.stream import follow
from balsam.client.transport import Client
from balsam.core.states import RUNNABLE_STATES, JobMode
from balsam.launcher.courier import Courier, Terms
from balsam.launcher.loop import Limits, Loop, Surroundings
from balsam.launcher.messages import Messages, Overhearing
from balsam.launcher.news import Mailbox, News, Opened, Rejected
from balsam.launcher.placement import NodeRoom
from balsam.platform.nodes import Node, detect_local
from balsam.runtime.guard_link import GuardLink
from balsam.runtime.logs import log_to, new_log_path
from balsam.runtime.postman import Postman
from balsam.runtime.settings import InvalidSettings
from balsam.runtime.site_folder import SiteFolder, SiteFolderError

log = logging.getLogger(__name__)

HTTP_SEC = 20.0  # an answer that takes longer counts as none: heartbeats wait behind it
FLUSH_SEC = 20.0  # for the last reports, after the last run has ended
MARGIN_SEC = 15.0  # before the allocation ends: for ending the runs and for the last reports
MARGIN_SHARE = 0.1  # ... of a short one
SWITCH_SEC = 0.0005  # the loop starts runs while the courier encodes: neither may keep the other waiting


class UsageError(Exception):
    """A command line that this launcher can't follow; one sentence."""


@dataclass(frozen=True)
class Orders:
    """What the command line says."""

    mode: JobMode
    wall_time_min: float
    batch_job_id: int | None
    tags: Mapping[str, str]


def parse_orders(arguments: Sequence[str]) -> Orders:
    """From the command line; raises UsageError, or SystemExit with a usage text."""
    parser = argparse.ArgumentParser(prog="balsam.launcher", description=__doc__)
    parser.add_argument("-j", "--job-mode", required=True, type=parse_mode)
    parser.add_argument("-t", "--wall-time-min", required=True, type=float)
    parser.add_argument("-b", "--batch-job", type=int)
    parser.add_argument("-tag", "--tag", action="append", default=[], type=parse_tag, metavar="KEY=VALUE")
    parser.add_argument("-p", "--part", action="append", default=[], metavar="MODE:NODES[:KEY=VALUE...]")
    given = parser.parse_args(arguments)
    mode, tags = given.job_mode, dict(given.tag)
    if len(given.part) > 1:
        raise UsageError("this launcher has one node, which can't be split into several partitions")
    if given.part:
        mode, tags = parse_part(given.part[0])
    return Orders(mode, given.wall_time_min, given.batch_job, tags)


def parse_mode(text: str) -> JobMode:
    return JobMode(text.removeprefix("JobMode."))


def parse_tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is no tag: write KEY=VALUE")
    return key, value


def parse_part(text: str) -> tuple[JobMode, dict[str, str]]:
    mode, _, *tags = text.split(":")
    return parse_mode(mode), dict(map(parse_tag, tags))


def refusal(mode: JobMode) -> Callable[[Mapping[str, Any]], str | None]:
    """Tells why a job can't run in a launcher of this mode on one node; None if it can."""

    def refuse(job: Mapping[str, Any]) -> str | None:
        if job["num_nodes"] <= 1 and job["ranks_per_node"] == 1:
            return None
        asked = f"{job['num_nodes']} nodes with {job['ranks_per_node']} ranks each"
        return f"it asks for {asked}; launching several ranks is not available on this platform yet"

    return refuse


def stop_at(started: float, wall_time_min: float) -> float:
    """When runs are to be ended, so that their ends are reported before the allocation is over."""
    wall_sec = wall_time_min * 60
    return started + wall_sec - min(MARGIN_SEC, wall_sec * MARGIN_SHARE)


def run_environment(orders: Orders, site: SiteFolder, nodes: Sequence[Node]) -> dict[str, str]:
    """What every run finds in its environment beside its own variables."""
    return {
        **os.environ,
        "BALSAM_JOB_MODE": orders.mode,
        "BALSAM_LAUNCHER_NODES": str(len(nodes)),
        "BALSAM_SITE_PATH": str(site.path),
    }


class Launcher:
    """Builds the parts, runs them in order, ends them in reverse."""

    def __init__(self, orders: Orders, site: SiteFolder) -> None:
        self._orders = orders
        self._site = site
        self._end_at = stop_at(time.monotonic(), orders.wall_time_min)
        self._nodes = detect_local(os.environ)
        self._mailbox = Mailbox()
        self._postman = Postman(self._client, site.data_path)
        self._courier = Courier(self._client, self._terms(), self._post)
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
                    log.error("the server refuses this launcher: %s", news.sentence)
                    return 1
        log.error("the server did not answer before the wall time was over")
        return 1

    def _run(self, lease_sec: float) -> int:
        guard = GuardLink(lease_sec)
        loop = Loop(self._surroundings(), self._limits(), guard, self._mailbox)
        on_signals(loop)
        self._postman.start()
        try:
            loop.run(self._overhearing)
            told = self._courier.finish(FLUSH_SEC)
        finally:
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
        return Terms(
            session={
                "site_id": self._site.site_id,
                "batch_job_id": orders.batch_job_id,
                "fenced": True,
                "partition": 0,
                "num_nodes": len(self._nodes),
            },
            acquire={
                "states": sorted(RUNNABLE_STATES),
                "serial_only": orders.mode is JobMode.serial,
                "max_nodes_per_job": len(self._nodes),
                "gpus_per_node": max(len(node.gpus) for node in self._nodes),
                "mem_mb_per_node": max(node.mem_mb for node in self._nodes),
                "filter_tags": {**settings.filter_tags, **orders.tags},
                "sort_by": settings.launcher.sort_by,
            },
            minutes_left=lambda: (self._end_at - time.monotonic()) / 60,
        )

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            site_path=self._site.path,
            data_path=self._site.data_path,
            room=NodeRoom(self._nodes[0]),
            environment=run_environment(self._orders, self._site, self._nodes),
            refuse=refusal(self._orders.mode),
        )

    def _limits(self) -> Limits:
        settings = self._site.settings.launcher
        return Limits(
            end_at=self._end_at,
            idle_ttl_sec=settings.idle_ttl_sec,
            prefetch_per_slot=settings.serial_mode_prefetch_per_rank,
            error_tail_lines=settings.error_tail_num_lines,
            stop_on_cut=settings.on_cut == "stop",
        )

    def _post(self, news: News) -> None:
        if isinstance(news, Opened):
            self._follow_stream(news.session_id)
        self._mailbox.post(news)

    def _follow_stream(self, session_id: int) -> None:
        """Wakes the courier when there is something to acquire, and brings messages; without it, it polls."""
        self._unfollow.set()  # the stream of an earlier session ends with its next word
        self._unfollow = threading.Event()
        args = (session_id, self._unfollow)
        threading.Thread(target=self._watch, args=args, name="stream", daemon=True).start()

    def _watch(self, session_id: int, stop: threading.Event) -> None:
        client = self._client()
        wanted = {
            "site_id": self._site.site_id,
            "to_state": sorted(RUNNABLE_STATES),
            "session_id": session_id,
        }
        while not stop.is_set():
            try:
                for message in follow(client, "/stream", wanted, stop):
                    if stop.is_set():
                        return  # or its end would look like a cut of the one after it
                    if message.name == "messages":
                        self._messages.take(session_id, message.data)
                    elif message.name == "cut":
                        self._look_for_messages(client, session_id)
                    self._tell(message.name)
            except ClientError as exc:
                log.warning("the stream is refused: %s", exc)
                self._courier.set_sighted(False)
                stop.wait(30)
                client = self._client()

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


def on_signals(loop: Loop) -> None:
    """SIGTERM and SIGINT end the loop in good order."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)

    def received() -> None:
        number = signal.Signals(ours.recv(64)[0])
        loop.stop(f"the launcher got {number.name}")
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
        log_to(log_path(site, orders.mode), site.settings.logging, [site.token or ""])
    except (UsageError, SiteFolderError, InvalidSettings, ClientError) as exc:
        print(f"balsam launcher: {exc}", file=sys.stderr)
        return 2
    sys.setswitchinterval(SWITCH_SEC)
    log.info("launcher of batch job %s on %s", orders.batch_job_id, socket.gethostname())
    try:
        return Launcher(orders, site).run()
    except Exception:
        log.exception("the launcher has failed")
        raise


if __name__ == "__main__":
    sys.exit(main())
