"""How every listing is asked for and shown: columns, order and number of rows; as text, JSON or CSV."""

from __future__ import annotations

import csv
import functools
import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

import click

from balsam.cli.completion_values import column_names
from balsam.cli.printable import printable
from balsam.cli.table import render

F = TypeVar("F", bound=Callable[..., Any])
Row = dict[str, Any]


@dataclass(frozen=True)
class Listing:
    """What can be shown of one kind of thing.

    `columns`: all names, in the order of JSON and CSV; `shown`: those of the table without `--columns`;
    `costly`: only where they are named. `sortable`: by the server; where it is empty, rows are put in order
    here, by any column. `titles`: headings that are not made from the names.
    """

    columns: tuple[str, ...]
    shown: tuple[str, ...]
    costly: tuple[str, ...] = ()
    sortable: tuple[str, ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)

    def title(self, name: str) -> str:
        """The heading of a column."""
        return self.titles.get(name, name.replace("_", " ").capitalize())


class Form(StrEnum):
    TEXT = "text"
    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True)
class View:
    """What was asked for. `limit` None: all rows. `watch`: seconds between two looks at least."""

    listing: Listing
    form: Form = Form.TEXT
    columns: tuple[str, ...] | None = None
    sort: str | None = None
    limit: int | None = None
    watch: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns to show."""
        if self.columns is not None:
            return self.columns
        if self.form is Form.TEXT:
            return self.listing.shown
        return tuple(name for name in self.listing.columns if name not in self.listing.costly)

    def with_column(self, name: str) -> View:
        """The same with one more column at the end."""
        return self if name in self.names else replace(self, columns=(*self.names, name))

    def order(self, default: str) -> str:
        """What the server is to order by."""
        return self.sort or default

    def cut(self, rows: Iterable[Row]) -> list[Row]:
        """Rows that were fetched whole, in the order asked for; the first `limit`."""
        found = list(rows)
        if self.sort is not None:
            name = self.sort.removeprefix("-")
            found.sort(key=lambda row: _rank(row[name]), reverse=self.sort.startswith("-"))
        return found[: self.limit]

    def show_first(self, rows: Iterable[Row], describe: Callable[[Row], str] | None = None) -> None:
        """Prints `cut`, and on standard error how many rows that left out.

        `describe`: each row in words of its own, in place of the listing.
        """
        every = list(rows)
        shown = self.cut(every)
        if describe is None:
            self.show(shown)
        else:
            click.echo("\n\n".join(map(describe, shown)))
        if len(shown) < len(every):
            by = "" if self.sort is None else f", by {self.sort}"
            click.echo(f"The first {len(shown):,} of {len(every):,}{by}; all with -n 0.", err=True)

    def text(self, rows: Iterable[Row]) -> str:
        """The listing itself, safe for where it goes."""
        told = self._told(rows)
        return printable(told) if sys.stdout.isatty() else told

    def show(self, rows: Iterable[Row]) -> None:
        """Prints the listing."""
        click.echo(self.text(rows))

    def _told(self, rows: Iterable[Row]) -> str:
        names = self.names
        chosen = [{name: row[name] for name in names} for row in rows]
        if self.form is Form.JSON:
            return json_text(chosen)
        if self.form is Form.CSV:
            return csv_text(names, chosen)
        return render(
            [self.listing.title(name) for name in names],
            [[cell(row[name]) for name in names] for row in chosen],
        )


# The options of a listing, by name; those that say how rows look, which what is described in words has not.
LISTED = frozenset({"as_json", "as_csv", "columns", "sort", "limit"})
FORMED = frozenset({"as_json", "as_csv", "columns"})
json_option = click.option("--json", "as_json", is_flag=True, help="What was made, as one JSON object.")


def one_json(record: Row) -> str:
    """One record as a JSON object, in ASCII, which no terminal obeys."""
    return json.dumps(record, default=str)


def listing_options(listing: Listing, limit: int | None = None, watch: bool = False) -> Callable[[F], F]:
    """The options of a listing; the command gets a `view`. `limit`: what holds where none is given."""

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def called(**given: Any) -> Any:
            view = View(
                listing,
                _form(given.pop("as_json"), given.pop("as_csv")),
                _columns(listing, given.pop("columns")),
                _sort(listing, given.pop("sort")),
                given.pop("limit") or None,
                given.pop("watch", None),
            )
            return command(view=view, **given)

        wrapped: Any = called
        for option in reversed(_options(listing, limit, watch)):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[no-any-return]

    return decorate


def _options(listing: Listing, limit: int | None, watch: bool) -> list[Callable[[Any], Any]]:
    but = f" but {' and '.join(listing.costly)}" if listing.costly else ""
    options = [
        click.option("--json", "as_json", is_flag=True, help=f"As JSON, with every column{but}."),
        click.option("--csv", "as_csv", is_flag=True, help=f"As CSV, with every column{but}."),
        click.option(
            "--columns",
            metavar="A,B,...",
            shell_complete=column_names(listing.columns),
            help=f"These columns, in this order: {', '.join(listing.columns)}.",
        ),
        click.option(
            "--sort",
            metavar="[-]COLUMN",
            shell_complete=column_names(listing.sortable or listing.columns),
            help=f"Ordered by this; - for descending. {_sortable_text(listing)}",
        ),
        click.option(
            *("-n", "--num", "--limit", "limit"),
            type=click.IntRange(min=0),
            default=limit or 0,
            show_default=limit is not None,
            metavar="N",
            help="At most so many; 0 for all.",
        ),
    ]
    if watch:
        options.append(
            click.option(
                "--watch",
                is_flag=False,
                flag_value=2.0,
                type=click.FloatRange(min=0.2),
                metavar="[SECONDS]",
                help="Show it again whenever something changes, at most every SECONDS (2); Ctrl-C ends it.",
            )
        )
    return options


def _sortable_text(listing: Listing) -> str:
    return f"One of {', '.join(listing.sortable)}." if listing.sortable else "Any column."


def _form(as_json: bool, as_csv: bool) -> Form:
    if as_json and as_csv:
        raise click.UsageError("Choose one of --json and --csv.")
    return Form.JSON if as_json else Form.CSV if as_csv else Form.TEXT


def _columns(listing: Listing, text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(dict.fromkeys(text.replace(",", " ").split()))
    unknown = [name for name in names if name not in listing.columns]
    if unknown or not names:
        what = f"no column {unknown[0]!r}" if unknown else "no column is named"
        raise click.BadParameter(f"{what}: choose from {', '.join(listing.columns)}", param_hint="--columns")
    return names


def _sort(listing: Listing, text: str | None) -> str | None:
    if text is None:
        return None
    possible = listing.sortable or listing.columns
    if text.removeprefix("-") not in possible:
        raise click.BadParameter(
            f"can't order by {text.removeprefix('-')!r}: choose from {', '.join(possible)}",
            param_hint="--sort",
        )
    return text


def json_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """A JSON list with one object on each line."""
    if not rows:
        return "[]"
    return "[\n" + ",\n".join(json.dumps(row, default=str) for row in rows) + "\n]"


def csv_text(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """CSV with a heading; what is no number or text is written as JSON."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_csv_cell(row[name]) for name in names])
    return file.getvalue().rstrip("\n")


def cell(value: object) -> str:
    """A value in a table: one line."""
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_line(item)}" for key, item in sorted(value.items()))
    if isinstance(value, (list, tuple, set)):
        return ",".join(_line(item) for item in value)
    return _line(value)


def _line(value: object) -> str:
    return " ".join(str(value).split())


def _csv_cell(value: object) -> object:
    if value is None or isinstance(value, (str, int, float)):
        return value
    return json.dumps(value, default=str)


def _rank(value: object) -> tuple[bool, bool, Any]:
    """Numbers before texts, nothing last."""
    is_number = isinstance(value, (int, float))
    return (value is None, not is_number, value if is_number else cell(value))
