"""A table whose cursor stays on its row while rows come and go."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.widgets import DataTable

from balsam.cli.live.rows import Rows
from balsam.cli.printable import printable


class LiveTable(DataTable[Text]):
    """Rows have keys; what users wrote is shown as it is, never as markup."""

    def __init__(self, columns: Sequence[str], id: str) -> None:
        super().__init__(id=id, cursor_type="row", zebra_stripes=True)
        self._names = columns
        self._rows: Rows = []

    def on_mount(self) -> None:
        for name in self._names:
            self.add_column(name, key=name)

    def fill(self, rows: Rows) -> None:
        """Shows these rows."""
        if rows == self._rows:
            return
        selected = self.selected
        if [key for key, _ in rows] == [key for key, _ in self._rows]:
            self._update(rows)
        else:
            self.clear()
            for key, cells in rows:
                self.add_row(*map(_plain, cells), key=key)
            keys = [key for key, _ in rows]
            if selected in keys:
                self.move_cursor(row=keys.index(selected), scroll=False)
        self._rows = rows

    @property
    def selected(self) -> str | None:
        """The key of the row that the cursor is on."""
        return self._rows[self.cursor_row][0] if 0 <= self.cursor_row < len(self._rows) else None

    def _update(self, rows: Rows) -> None:
        for (key, cells), (_, before) in zip(rows, self._rows, strict=True):
            for name, now, then in zip(self._names, cells, before, strict=True):
                if now != then:
                    self.update_cell(key, name, _plain(now), update_width=True)


def _plain(text: str) -> Text:
    return Text(printable(text), no_wrap=True, end="")
