"""A table whose cursor stays on its row while rows come and go."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text
from textual.widgets import DataTable

from balsam.cli.live.rows import Rows
from balsam.cli.printable import printable

MAX_WIDTH = 120


class LiveTable(DataTable[Text]):
    """Rows have keys; what users wrote is shown as it is, never as markup.

    Columns are as wide as the widest cell so far. They are measured here: the table itself does that when it
    is idle, and what it has painted before that stays cut off.
    """

    def __init__(self, columns: Sequence[str], id: str) -> None:
        super().__init__(id=id, cursor_type="row", zebra_stripes=True)
        self._names = columns
        self._shown: Rows = []
        self._widths: list[int] = []

    def on_mount(self) -> None:
        self._set_widths([cell_len(name) for name in self._names])

    def fill(self, rows: Rows) -> None:
        """Shows these rows."""
        rows = [(key, [printable(cell) for cell in cells]) for key, cells in rows]
        if rows == self._shown:
            return
        selected, widths = self.selected, self._widths_for(rows)
        if widths == self._widths and [key for key, _ in rows] == [key for key, _ in self._shown]:
            self._update(rows)
        else:
            self._set_widths(widths)
            for key, cells in rows:
                self.add_row(*map(_plain, cells), key=key)
            keys = [key for key, _ in rows]
            if selected in keys:
                self.move_cursor(row=keys.index(selected), scroll=True)
        self._shown = rows

    @property
    def selected(self) -> str | None:
        """The key of the row that the cursor is on."""
        return self._shown[self.cursor_row][0] if 0 <= self.cursor_row < len(self._shown) else None

    def _widths_for(self, rows: Rows) -> list[int]:
        """Never less than before: a table that trembles can't be read."""
        lists = [self._widths, *([cell_len(cell) for cell in cells] for _, cells in rows)]
        return [min(MAX_WIDTH, max(column)) for column in zip(*lists, strict=True)]

    def _set_widths(self, widths: list[int]) -> None:
        self.clear(columns=True)
        for name, width in zip(self._names, widths, strict=True):
            self.add_column(name, key=name, width=width)
        self._widths = widths

    def _update(self, rows: Rows) -> None:
        for (key, cells), (_, before) in zip(rows, self._shown, strict=True):
            for name, now, then in zip(self._names, cells, before, strict=True):
                if now != then:
                    self.update_cell(key, name, _plain(now))


def _plain(text: str) -> Text:
    return Text(text, no_wrap=True, end="")
