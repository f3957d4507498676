"""What users ask of this launcher: kills and drains go to the loop, outputs and answers to the postman."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from balsam.core.states import RUN_END_STATES, JobState
from balsam.launcher.appetite import Wanted
from balsam.launcher.last_word import LauncherEnd
from balsam.launcher.news import Drain, Kill, News
from balsam.launcher.setting import Reporting
from balsam.runtime.postman import Postman, tail_of
from balsam.runtime.updates import Update

log = logging.getLogger(__name__)


class Overhearing:
    """The courier as the loop sees it; notes on the way which jobs run here."""

    def __init__(self, courier: Reporting, postman: Postman) -> None:
        self._courier = courier
        self._postman = postman
        self._running: set[int] = set()

    def runs(self, job_id: int) -> bool:
        """From any thread."""
        return job_id in self._running

    def report(self, *updates: Update) -> None:
        for update in updates:
            if update.state is JobState.running:
                self._running.add(update.job_id)
            elif update.state in RUN_END_STATES:
                self._running.discard(update.job_id)
                self._postman.ended(update.job_id)
        self._courier.report(*updates)

    def note_job(self, job_id: int) -> None:
        self._courier.note_job(job_id)

    def note_ending(self, end: LauncherEnd) -> None:
        self._courier.note_ending(end)

    def ask(self, wanted: Wanted, answers_seen: int) -> None:
        self._courier.ask(wanted, answers_seen)

    def acknowledge(self) -> None:
        self._courier.acknowledge()

    def doubt(self) -> None:
        self._courier.doubt()

    def give_back(self, job_ids: Collection[int]) -> None:
        self._courier.give_back(job_ids)

    def tell_trouble(self, sentence: str) -> None:
        self._courier.tell_trouble(sentence)

    def hint(self) -> None:
        self._courier.hint()


class Messages:
    """Hands messages on; one that comes again, after a cut of the stream, does no harm."""

    def __init__(self, postman: Postman, post: Callable[[News], None], runs: Callable[[int], bool]) -> None:
        self._postman = postman
        self._post = post
        self._runs = runs

    def take(self, session_id: int, messages: list[Mapping[str, Any]]) -> None:
        for message in messages:
            answer = partial(self._postman.answer, session_id, message["id"])
            match message["kind"]:
                case "kill":
                    body = message["body"]
                    self._post(Kill(tuple(body["job_ids"]), body["by"], answer))
                case "drain":
                    self._post(Drain(answer))
                case "tail":
                    here = self._runs(message["job_id"])
                    self._postman.tail(tail_of(session_id, message, time.monotonic(), runs_here=here))
                case kind:
                    answer({"error": f"this launcher knows no message {kind}: it is of an older release"})
