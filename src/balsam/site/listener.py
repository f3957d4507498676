"""Hears from the server what changed, and rings the services that care; hands on what the agent is asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from balsam.client.stream import follow
from balsam.client.transport import Client
from balsam.core.states import HOOK_OF_STATE
from balsam.site.services import Stop
from balsam.site.session import AgentSession

log = logging.getLogger(__name__)

# A new connection may follow a gap: everything may have changed.
GREETINGS = ("hello", "reset")
FIRST_SESSION_SEC = 5.0  # a stream that begins before the session is open brings no messages


class Asked(Protocol):
    """Whoever takes messages to the agent's session."""

    session: AgentSession

    def take(self, session_id: int, messages: list[Mapping[str, Any]]) -> None: ...


class ListenerService:
    """Follows the stream of this site. `on_message`: what to call for each kind of message.

    `asked`: takes what users ask of the agent; None for one that runs no hooks and has no session.
    """

    name = "listener"

    def __init__(
        self,
        client: Client,
        site_id: int,
        on_message: Mapping[str, Callable[[], None]],
        asked: Asked | None = None,
    ) -> None:
        self._client = client
        self._site_id = site_id
        self._on_message = on_message
        self._asked = asked

    def run(self, stop: Stop) -> None:
        if self._asked is not None:
            self._asked.session.opened.wait(FIRST_SESSION_SEC)
        while not stop.is_set():
            self._follow(stop, self._session_id())

    def _follow(self, stop: Stop, session_id: int | None) -> None:
        """Until the stop, or until the agent has another session: messages are sent to the one named."""
        query = {"site_id": self._site_id, "to_state": sorted(HOOK_OF_STATE), "session_id": session_id}
        for message in follow(self._client, "/stream", query, stop.event):
            log.debug("the server says: %s", message.name)
            if message.name == "messages" and self._asked is not None and session_id is not None:
                self._asked.take(session_id, message.data)
            for name, call in self._on_message.items():
                if name == message.name or message.name in GREETINGS:
                    call()
            if self._session_id() not in (None, session_id):
                return

    def _session_id(self) -> int | None:
        return None if self._asked is None else self._asked.session.id
