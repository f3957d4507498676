"""Tells the server what this site offers, and that its agent lives."""

from __future__ import annotations

import logging
import threading

from balsam.client.transport import Client
from balsam.platform.nodes import Node
from balsam.runtime.site_folder import SiteFolder, site_facts
from balsam.site import pid_file
from balsam.site.services import OUTAGES, Outage, Stop

log = logging.getLogger(__name__)

REFRESH_SEC = 60.0


class PresenceService:
    """Sends the site's facts at once and every minute. `tried` is set after the first attempt.

    `nodes`: one of each kind that its allocations consist of; None where that is not known.
    """

    name = "presence"

    def __init__(self, site: SiteFolder, client: Client, nodes: list[Node] | None) -> None:
        self._site = site
        self._client = client
        self._nodes = None if nodes is None else [node.kind for node in nodes]
        self._outage = Outage()
        self.tried = threading.Event()
        self.reached = False

    def run(self, stop: Stop) -> None:
        while not stop.is_set():
            pid_file.renew(self._site)
            try:
                facts = {**site_facts(self._site.settings), "nodes": self._nodes}
                facts["path"] = str(self._site.path)  # the folder may have been moved
                self._client.put(f"/sites/{self._site.site_id}", facts)
                self._outage.answered()
                self.reached = True
                pause = REFRESH_SEC
            except OUTAGES as exc:
                pause = self._outage.failed(exc)
            finally:
                self.tried.set()
            stop.event.wait(pause)
