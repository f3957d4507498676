"""Where a report goes, and in which form."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from balsam import analytics
from balsam.cli import streams
from balsam.cli.printable import printable
from balsam.report.campaign import Campaign
from balsam.sdk.figures import AnyQuery, Window

FORMATS = ("text", "png", "svg", "html", "csv", "json")
FIGURES = ("png", "svg")
_SUFFIXES = {"txt": "text", "htm": "html", **{name: name for name in FORMATS}}


def kind_of(output: Path | None) -> str:
    """The form that a file's name asks for; text without one. Raises click.UsageError if there is none."""
    suffix = "" if output is None else output.suffix.removeprefix(".").lower()
    if suffix and suffix not in _SUFFIXES:
        raise click.UsageError(f".{suffix} names no format: choose one with --format ({', '.join(FORMATS)})")
    return _SUFFIXES.get(suffix, "text")


def must_be_writable(kind: str, output: Path | None) -> None:
    """Raises before anything is asked of the server, if the report could not be written in the end."""
    if kind == "png" and output is None and sys.stdout.isatty():
        raise click.UsageError("a terminal shows no PNG: name a file with -o")
    if kind in FIGURES and importlib.util.find_spec("matplotlib") is None:
        raise click.ClickException(f"{kind} needs matplotlib: pip install 'balsam[plot]'")
    if output is not None and not output.resolve().parent.is_dir():
        raise click.ClickException(f"there is no folder {output.resolve().parent}")


def write(campaign: Campaign, kind: str, output: Path | None) -> None:
    """One report; into the file, whole or not at all, else to standard output."""
    if kind == "text":
        from balsam.cli import report_text

        width = None if output is None else report_text.FILE_WIDTH
        with _opened(output) as file:
            file.write(report_text.text(campaign, width=width).encode())  # safe, with colours of its own
        return
    with _opened(output) as file:
        if kind in FIGURES:
            from balsam.report.figure import write_figure

            write_figure(campaign, file, kind)
        elif kind == "html":
            from balsam.report.page import page

            file.write(_shown(page(campaign), output).encode())
        else:
            from balsam.report.rows import as_json

            file.write(as_json(campaign).encode() + b"\n")


def write_table(query: AnyQuery, num: int | None, window: Window, output: Path | None) -> None:
    """A row for each attempt, the newest first, page by page."""
    from balsam.report.rows import write_csv

    with _opened(output) as file:
        attempts = analytics.each_attempt(query, order="-start", limit=num, **window)
        write_csv(attempts, _Texts(file, output))


class _Texts:
    """Takes text for a file of bytes."""

    def __init__(self, file: IO[bytes], output: Path | None) -> None:
        self._file, self._output = file, output

    def write(self, text: str, /) -> object:
        return self._file.write(_shown(text, self._output).encode())


def _shown(text: str, output: Path | None) -> str:
    """Data of strangers as they are, but for a terminal, which would obey them."""
    return printable(text) if output is None and sys.stdout.isatty() else text


@contextmanager
def _opened(output: Path | None) -> Iterator[IO[bytes]]:
    if output is None:
        with streams.named(streams.OUTPUT):
            sys.stdout.flush()
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        return
    target = output.resolve()
    with streams.named(str(output)):
        if target.exists() and not target.is_file():  # a pipe or a device is written to, never replaced
            with target.open("wb") as file:
                yield file
        else:
            with _replaced(target) as file:
                yield file
    click.echo(f"Wrote {output}.", err=True)


@contextmanager
def _replaced(target: Path) -> Iterator[IO[bytes]]:
    """A file beside the target, which takes its place when all is written."""
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
        unfinished = Path(file.name)
        try:
            yield file
        except BaseException:
            unfinished.unlink()
            raise
    mask = os.umask(0)
    os.umask(mask)
    unfinished.chmod(0o666 & ~mask)
    unfinished.replace(target)
