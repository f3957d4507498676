"""A job's output, followed wherever it runs."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.message import Message
from textual.widgets import Footer, Log, Static

from balsam.api import Job
from balsam.cli.live.screens import LiveScreen
from balsam.cli.live.source import Source
from balsam.cli.printable import printable
from balsam.client.errors import ClientError

LINES = 200
MAX_LINES = 10_000


@dataclass
class Piece(Message):
    """Something that the job wrote, or why nothing more comes."""

    text: str
    is_note: bool = False


class OutputScreen(LiveScreen):
    """The end of a job's output, and all that comes."""

    BINDINGS = [("escape", "app.pop_screen", "Back"), ("q", "app.quit", "Quit")]
    CSS = "OutputScreen Static { height: auto; padding: 0 1; text-style: bold; }"

    def __init__(self, job_id: int) -> None:
        super().__init__()
        self._job_id = job_id
        self._gone = threading.Event()

    def compose(self) -> ComposeResult:
        yield Static(f"Output of job {self._job_id}", id="note", markup=False)
        yield Log(id="output", max_lines=MAX_LINES)
        yield Footer()

    def on_mount(self) -> None:
        # A daemon: it may wait for the job's next word when the view is closed.
        threading.Thread(target=self._follow, name="balsam-output", daemon=True).start()

    def on_unmount(self) -> None:
        self._gone.set()

    def load(self, source: Source) -> None:
        """Nothing: what the job writes comes by itself."""

    def present(self, data: None) -> None:
        pass

    def on_piece(self, piece: Piece) -> None:
        if piece.is_note:
            self.query_one("#note", Static).update(printable(piece.text))
        else:
            self.query_one(Log).write(printable(piece.text.replace("\r\n", "\n").replace("\r", "\n")))

    def _follow(self) -> None:
        ended = f"Output of job {self._job_id}, whose run has ended"
        try:
            job = self.top.source.query({"id": self._job_id}).the_one()
            for text in job.tail(LINES, follow=True):
                if self._gone.is_set():
                    return
                self.post_message(Piece(text))
        except (ClientError, Job.DoesNotExist) as exc:
            ended = f"Output of job {self._job_id}: {exc}"
        self.post_message(Piece(ended, is_note=True))
