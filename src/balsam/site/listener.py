"""Hears from the server what changed, and rings the services that care."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from balsam.client.stream import follow
from balsam.client.transport import Client
from balsam.core.states import HOOK_OF_STATE
from balsam.site.services import Stop

log = logging.getLogger(__name__)

# A new connection may follow a gap: everything may have changed.
GREETINGS = ("hello", "reset")


class ListenerService:
    """Follows the stream of this site. `on_message`: what to call for each kind of message."""

    name = "listener"

    def __init__(self, client: Client, site_id: int, on_message: Mapping[str, Callable[[], None]]) -> None:
        self._client = client
        self._site_id = site_id
        self._on_message = on_message

    def run(self, stop: Stop) -> None:
        query = {"site_id": self._site_id, "to_state": sorted(HOOK_OF_STATE)}
        for message in follow(self._client, "/stream", query, stop.event):
            log.debug("the server says: %s", message.name)
            for name, call in self._on_message.items():
                if name == message.name or message.name in GREETINGS:
                    call()
