"""The second screen: the newest jobs of a site, an allocation, or a filter that was typed."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.widgets import DataTable, Footer, Input, Static

from balsam.cli.live import rows
from balsam.cli.live.job import JobScreen
from balsam.cli.live.output import OutputScreen
from balsam.cli.live.screens import LiveScreen
from balsam.cli.live.source import MAX_JOBS, Listed, Source
from balsam.cli.live.table import LiveTable
from balsam.cli.printable import printable


class JobsScreen(LiveScreen):
    """`filters`: of jobs; `names`: what they are called."""

    BINDINGS = [
        ("slash", "filter", "Filter"),
        ("t", "output", "Output"),
        ("k", "kill", "Kill"),
        ("K", "kill_all", "Kill all shown by the filter"),
        ("r", "retry", "Retry"),
        ("R", "retry_all", "Retry all failed"),
        ("escape", "back", "Back"),
        ("q", "app.quit", "Quit"),
    ]
    CSS = """
    JobsScreen Static { height: auto; padding: 0 1; text-style: bold; }
    JobsScreen Input { display: none; }
    JobsScreen Input.open { display: block; }
    """

    def __init__(self, filters: dict[str, Any], names: dict[str, str]) -> None:
        super().__init__()
        self._place = filters
        self._names = names
        self._typed: dict[str, Any] = {}

    @property
    def filters(self) -> dict[str, Any]:
        """What chooses the jobs that are shown."""
        return {**self._typed, **self._place}

    def compose(self) -> ComposeResult:
        yield Static("Asking the server ...", id="heading", markup=False)
        yield Input(placeholder="FAILED RUNNING key=value 12 part/of/workdir", id="filter")
        yield LiveTable(rows.JOB_COLUMNS, id="jobs")
        yield Footer()

    def on_mount(self) -> None:
        self.table.focus()

    @property
    def table(self) -> LiveTable:
        return self.query_one("#jobs", LiveTable)

    def load(self, source: Source) -> tuple[dict[str, Any], Listed]:
        filters = self.filters
        return filters, source.jobs(filters)

    def present(self, data: tuple[dict[str, Any], Listed]) -> None:
        filters, listed = data
        if filters != self.filters:  # another filter was typed meanwhile
            return
        text = rows.heading(self._names, len(listed.jobs), MAX_JOBS)
        self.query_one("#heading", Static).update(printable(text))
        self.table.fill(rows.job_rows(listed))

    def action_filter(self) -> None:
        field = self.query_one(Input)
        field.add_class("open")
        field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        try:
            self._typed = rows.parsed_filter(event.value)
        except ValueError as exc:
            self.notify(str(exc), severity="error", markup=False)
            return
        self._names = {**self._names, "filter": event.value.strip()}
        self._close_filter()
        self.top.look_now()

    def _close_filter(self) -> None:
        self.query_one(Input).remove_class("open")
        self.table.focus()

    def action_back(self) -> None:
        if self.query_one(Input).has_class("open"):
            self._close_filter()
        else:
            self.app.pop_screen()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if event.row_key.value is not None:
            self.app.push_screen(JobScreen(int(event.row_key.value)))

    def action_output(self) -> None:
        if (selected := self.table.selected) is not None:
            self.app.push_screen(OutputScreen(int(selected)))

    def action_kill(self) -> None:
        if (selected := self.table.selected) is not None:
            self.top.ask_to_kill({"id": int(selected)}, f"job {selected}")

    def action_kill_all(self) -> None:
        self.top.ask_to_kill(self.filters, None)

    def action_retry(self) -> None:
        if (selected := self.table.selected) is not None:
            self.top.ask_to_retry({"id": int(selected)}, f"job {selected}")

    def action_retry_all(self) -> None:
        self.top.ask_to_retry(self.filters, None)
