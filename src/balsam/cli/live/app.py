"""The application: looks when something changes, and does what was confirmed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual.app import App
from textual.message import Message

from balsam.cli.live.overview import OverviewScreen
from balsam.cli.live.screens import LiveScreen, Question
from balsam.cli.live.source import Source, pause
from balsam.cli.options import counted
from balsam.cli.printable import printable
from balsam.cli.watching import SAFETY_SEC, Changes
from balsam.client.errors import ClientError
from balsam.core.states import DONE_STATES, JobState

if TYPE_CHECKING:
    from balsam.client.transport import Client

NOT_ENDED = [state for state in JobState if state not in DONE_STATES]


@dataclass
class Loaded(Message):
    """What a screen's `load` brought."""

    screen: LiveScreen
    data: Any


@dataclass
class Sentence(Message):
    """To be told to the user."""

    text: str
    is_error: bool = False


class TopApp(App[None]):
    """`every`: seconds between two looks at least."""

    TITLE = "balsam top"
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, client: Client, every: float = 2.0) -> None:
        super().__init__()
        self.source = Source(client)
        self._every = every
        self._changes = Changes(client)
        self._over = threading.Event()

    def on_mount(self) -> None:
        self.push_screen(OverviewScreen())
        threading.Thread(target=self._look_on, name="balsam-top", daemon=True).start()

    def on_unmount(self) -> None:
        self._over.set()
        self._changes.close()

    def look_now(self) -> None:
        """Another screen, or something that was done: not to be waited for."""
        self._changes.hint(urgent=True)

    def on_loaded(self, message: Loaded) -> None:
        if message.screen.is_attached and message.screen.is_mounted:
            message.screen.present(message.data)

    def on_sentence(self, message: Sentence) -> None:
        self.notify(
            printable(message.text),
            severity="error" if message.is_error else "information",
            markup=False,
            timeout=8,
        )

    # ---- looking, in a thread ----

    def _look_on(self) -> None:
        try:
            self._look_at_changes()
        except Exception as exc:  # the top of a thread
            if not self._over.is_set():
                told = printable(f"The view has failed: {type(exc).__name__}: {exc}")
                self.exit(return_code=1, message=Text(told))

    def _look_at_changes(self) -> None:
        trouble: str | None = None
        with self._changes:
            while not self._over.is_set():
                began = time.monotonic()
                told = self._look()
                if told is not None and told != trouble:
                    self.post_message(Sentence(told, is_error=True))
                trouble = told
                rest = pause(time.monotonic() - began, self._every)
                if not self._changes.wait_urgent(rest):
                    self._changes.wait(max(0.0, SAFETY_SEC - rest))

    def _look(self) -> str | None:
        """Loads what the topmost screen with data shows; why that did not work, or None."""
        screen = next((one for one in reversed(self.screen_stack) if isinstance(one, LiveScreen)), None)
        if screen is None:
            return None
        try:
            data = screen.load(self.source)
        except ClientError as exc:
            return f"{exc}; trying again"
        self.post_message(Loaded(screen, data))
        return None

    # ---- what is done to jobs ----

    def ask_to_kill(self, filters: dict[str, Any], what: str | None) -> None:
        """Asks, then kills; `what` None: counts the jobs first."""

        def kill() -> str:
            killed = self.source.kill(filters)
            late = len(killed.pending)
            done = counted(killed.killed + killed.told + killed.noted - late, "job")
            return f"{done} killed" + (f", {late} not yet ended" if late else "")

        self._ask("Kill", filters, NOT_ENDED, what, kill)

    def ask_to_retry(self, filters: dict[str, Any], what: str | None) -> None:
        """Asks, then retries the failed ones."""
        self._ask(
            "Retry",
            filters,
            [JobState.failed],
            what,
            lambda: f"{counted(self.source.retry(filters), 'job')} retried",
        )

    def _ask(
        self,
        verb: str,
        filters: dict[str, Any],
        states: list[JobState],
        what: str | None,
        act: Callable[[], str],
    ) -> None:
        def count_and_ask() -> str | None:
            wanted = [state for state in filters.get("state", states) if state in states]
            number = self.source.query({**filters, "state": wanted}).count()
            if not number:
                return f"{verb} {what or 'these'}: nothing to do"
            text = f"{verb} {what or counted(number, 'job')}?"
            self.call_from_thread(self.push_screen, Question(text), answered)
            return None

        def answered(answer: bool | None) -> None:
            if answer:
                self._in_thread(act)

        self._in_thread(count_and_ask)

    def _in_thread(self, act: Callable[[], str | None]) -> None:
        def run() -> None:
            try:
                told = act()
            except ClientError as exc:
                self.post_message(Sentence(str(exc), is_error=True))
                return
            if told:
                self.post_message(Sentence(told))
                self.look_now()

        threading.Thread(target=run, name="balsam-act", daemon=True).start()
