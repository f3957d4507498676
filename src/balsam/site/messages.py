"""What users ask of the agent: outputs of jobs that no launcher runs, and ends of hooks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from balsam.runtime.postman import Postman, tail_of
from balsam.site.session import AgentSession


class SiteMessages:
    """Hands on the messages to the agent's session; one that comes again does no harm.

    `kill(job_id, by)` ends a job's hook and says what it does.
    """

    def __init__(self, session: AgentSession, postman: Postman, kill: Callable[[int, str], str]) -> None:
        self.session = session
        self._postman = postman
        self._kill = kill

    def take(self, session_id: int, messages: list[Mapping[str, Any]]) -> None:
        for message in messages:
            answer = partial(self._postman.answer, session_id, message["id"])
            match message["kind"]:
                case "kill":
                    by = message["body"]["by"]
                    answer({"jobs": {str(i): self._kill(i, by) for i in message["body"]["job_ids"]}})
                case "tail":
                    # It sees the file, and not the run: another one may write to it at any time.
                    self._postman.tail(tail_of(session_id, message, time.monotonic(), runs_here=True))
                case kind:
                    answer({"error": f"an agent does not do this: {kind}"})
