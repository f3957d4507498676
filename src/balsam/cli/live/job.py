"""The third screen: one job, why it is where it is, and its history."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Footer, Static

from balsam.api import Job
from balsam.cli.live import rows
from balsam.cli.live.output import OutputScreen
from balsam.cli.live.screens import LiveScreen
from balsam.cli.live.source import Source, Told
from balsam.cli.live.table import LiveTable
from balsam.cli.printable import printable


class JobScreen(LiveScreen):
    """One job."""

    BINDINGS = [
        ("t", "output", "Output"),
        ("k", "kill", "Kill"),
        ("r", "retry", "Retry"),
        ("escape", "app.pop_screen", "Back"),
        ("q", "app.quit", "Quit"),
    ]
    CSS = "JobScreen Static { height: auto; padding: 0 1 1 1; }"

    def __init__(self, job_id: int) -> None:
        super().__init__()
        self._job_id = job_id

    def compose(self) -> ComposeResult:
        yield Static("Asking the server ...", id="description", markup=False)
        yield LiveTable(rows.EVENT_COLUMNS, id="events")
        yield Footer()

    def load(self, source: Source) -> Told | None:
        try:
            return source.job(self._job_id)
        except Job.DoesNotExist:
            return None

    def present(self, data: Told | None) -> None:
        text = f"Job {self._job_id} has been removed." if data is None else rows.description(data)
        self.query_one("#description", Static).update(printable(text))
        self.query_one("#events", LiveTable).fill([] if data is None else rows.event_rows(data))

    def action_output(self) -> None:
        self.app.push_screen(OutputScreen(self._job_id))

    def action_kill(self) -> None:
        self.top.ask_to_kill({"id": self._job_id}, f"job {self._job_id}")

    def action_retry(self) -> None:
        self.top.ask_to_retry({"id": self._job_id}, f"job {self._job_id}")
