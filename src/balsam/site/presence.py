"""Holds the site's lease, tells the server what this site offers, and looks after its folder."""

from __future__ import annotations

import logging
import threading
import time

from balsam.client.transport import Client
from balsam.platform.nodes import Node
from balsam.runtime.site_folder import SiteFolder, identity_of, site_facts
from balsam.site import pid_file
from balsam.site.lease import BEAT_SEC, LOOK_SEC, Elsewhere, Granted, SiteLease
from balsam.site.services import OUTAGES, Outage, Stop

log = logging.getLogger(__name__)

REFRESH_SEC = 60.0
FOLDER_SEC = 5.0


class PresenceService:
    """Claims the site at once and every few seconds, and sends its facts every minute.

    `working` is set as soon as the site is this agent's: nothing else may be done before. `tried` is set when
    it is known whether it can be, or that the server does not answer. It touches no file, lest a filesystem
    that stalls costs the lease. `nodes`: one of each kind that its allocations consist of; None where that is
    not known.
    """

    name = "presence"

    def __init__(self, site: SiteFolder, client: Client, nodes: list[Node] | None) -> None:
        self._client = client
        self._route = f"/sites/{site.site_id}"
        self._facts = {**site_facts(site.settings), "path": str(site.path)}  # the folder may have been moved
        self._facts["nodes"] = None if nodes is None else [node.kind for node in nodes]
        self._outage = Outage()
        self._next_facts = 0.0
        self.lease = SiteLease(site.site_id, site.path, client)
        self.working = threading.Event()
        self.waits = threading.Event()
        self.tried = threading.Event()
        self.reached = False

    def run(self, stop: Stop) -> None:
        while not stop.is_set():
            try:
                pause = self._beat(stop)
                self._outage.answered()
            except OUTAGES as exc:
                pause = self._outage.failed(exc)
                self.tried.set()
            stop.event.wait(pause)

    def _beat(self, stop: Stop) -> float:
        """One claim; the seconds until the next."""
        step = self.lease.claim()
        self.reached = True
        if isinstance(step, Elsewhere):
            stop.set(step.sentence)
        elif not isinstance(step, Granted) and self.working.is_set():
            stop.set("another agent has taken this site over while this one was out of the server's reach")
        if stop.is_set():
            self.tried.set()
            return 0.0
        if not isinstance(step, Granted):
            if not self.waits.is_set():
                log.info("another agent held this site a moment ago: waiting until it is known to be gone")
            self.waits.set()
            return LOOK_SEC
        self.working.set()
        if time.monotonic() >= self._next_facts:
            self._client.put(self._route, self._facts)
            self._next_facts = time.monotonic() + REFRESH_SEC
        self.tried.set()
        return BEAT_SEC


class FolderService:
    """Renews the pid file, and ends the agent when its folder is no longer where it was."""

    name = "folder"

    def __init__(self, site: SiteFolder) -> None:
        self._site = site
        self._identity = identity_of(site.path)

    def run(self, stop: Stop) -> None:
        while not stop.is_set():
            if self._is_gone():
                stop.set(
                    f"the site's folder is no longer at {self._site.path}: it was moved or removed. Start "
                    "the agent where it is now (`balsam site mv` moves a site and tells the server)"
                )
                return
            pid_file.renew(self._site)
            stop.event.wait(FOLDER_SEC)

    def _is_gone(self) -> bool:
        try:
            return identity_of(self._site.path) != self._identity
        except FileNotFoundError:
            return True
        except OSError:  # a filesystem that does not answer has not moved
            return False
