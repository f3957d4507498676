"""The first screen: sites, allocations and failures of late."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import DataTable, Footer, Static

from balsam.cli.live import rows
from balsam.cli.live.job import JobScreen
from balsam.cli.live.jobs import JobsScreen
from balsam.cli.live.screens import LiveScreen
from balsam.cli.live.source import Source
from balsam.cli.live.table import LiveTable
from balsam.schemas.overview import OverviewOut


class OverviewScreen(LiveScreen):
    """Enter: jobs of a site or an allocation, or the newest job of a cause."""

    BINDINGS = [("a", "all", "All jobs"), ("q", "app.quit", "Quit")]
    CSS = """
    OverviewScreen Static { height: auto; padding: 0 1; }
    OverviewScreen .title { text-style: bold; color: $accent; }
    OverviewScreen LiveTable { height: 1fr; min-height: 4; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: OverviewOut | None = None

    def compose(self) -> ComposeResult:
        yield Static("Asking the server ...", id="totals", markup=False)
        yield Static("Sites", classes="title")
        yield LiveTable(rows.SITE_COLUMNS, id="sites")
        yield Static("Allocations", classes="title")
        yield LiveTable(rows.ALLOCATION_COLUMNS, id="allocations")
        yield Static("Failures of the last hour", classes="title")
        yield LiveTable(rows.FAILURE_COLUMNS, id="failures")
        yield Footer()

    def load(self, source: Source) -> OverviewOut:
        return source.overview()

    def present(self, data: OverviewOut) -> None:
        self._seen = data
        self.query_one("#totals", Static).update(rows.totals(data))
        for name, found in (
            ("sites", rows.site_rows(data)),
            ("allocations", rows.allocation_rows(data)),
            ("failures", rows.failure_rows(data)),
        ):
            self.query_one(f"#{name}", LiveTable).fill(found)

    def action_all(self) -> None:
        self.app.push_screen(JobsScreen({}, {}))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        key, seen = event.row_key.value, self._seen
        if key is None or seen is None:
            return
        if event.data_table.id == "sites":
            name = next((site.name for site in seen.sites if str(site.id) == key), key)
            self.app.push_screen(JobsScreen({"site_id": int(key)}, {"site": name}))
        elif event.data_table.id == "allocations":
            self.app.push_screen(JobsScreen({"batch_job_id": int(key)}, {"BatchJob": key}))
        else:
            newest = {f"{one.site_id} {one.signature}": one.newest_job_id for one in seen.failures}
            if key in newest:
                self.app.push_screen(JobScreen(newest[key]))
