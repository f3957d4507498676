"""A report for the terminal: tables, and charts made of blocks."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from balsam.cli.printable import printable
from balsam.report import words
from balsam.report.campaign import Campaign
from balsam.report.scales import Times, top
from balsam.report.tiles import Tile, tiles
from balsam.sdk.figures import Series

FILE_WIDTH = 110
BLOCKS = " ▁▂▃▄▅▆▇█"
CHART_ROWS, LABEL_WIDTH = 5, 8
MAX_TAIL_LINES, MAX_ROWS = 8, 10


def text(campaign: Campaign, width: int | None) -> str:
    """All of it; `width` None: as wide as the terminal, with its colours if it has any."""
    is_terminal = width is None and sys.stdout.isatty()
    out = io.StringIO()
    console = Console(
        file=out,
        width=width or (None if is_terminal else FILE_WIDTH),
        force_terminal=is_terminal,
        no_color=not is_terminal or "NO_COLOR" in os.environ,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    console.print(Group(*_parts(campaign, console.width)))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _parts(campaign: Campaign, width: int) -> Iterable[RenderableType]:
    yield _plain(campaign.title, "bold")
    chosen = [f"{name}: {value}" for name, value in campaign.chosen.items()]
    yield _plain("; ".join([*chosen, f"made {words.moment(campaign.made)} UTC"]), "dim")
    yield Text()
    yield from map(_tile, tiles(campaign))
    span, nodes = campaign.span, top([*campaign.available[1], *campaign.busy[1]])
    if span is not None:
        done = top(campaign.finished[1])
        yield from _series("Jobs finished", campaign.finished, span, done, width, stays=True)
        yield from _series("Nodes available", campaign.available, span, nodes, width)
        yield from _series("Nodes busy", campaign.busy, span, nodes, width)
        if campaign.excess_note:
            yield _plain(campaign.excess_note, "yellow")
    yield from _tables(campaign)
    yield from _failed(campaign)


def _tile(tile: Tile) -> Text:
    line = _plain(f"{tile.label:<22}")
    line.append(f"{tile.value:>12}", "bold red" if tile.alarm else "bold")
    return line.append(f"  {tile.note}", "dim")


def _series(
    title: str, series: Series, times: Times, highest: float, width: int, *, stays: bool = False
) -> Iterable[RenderableType]:
    """`stays`: what was counted stays so behind its last moment, where what was busy is no more."""
    if not series[0]:
        return
    columns = max(10, min(width - LABEL_WIDTH - 2, 100))
    yield Text()
    yield _plain(title, "bold")
    lines = blocks(sampled(series, times, columns, stays=stays), highest, CHART_ROWS)
    for number, line in enumerate(lines):
        label = words.number(highest) if number == 0 else "0" if number == CHART_ROWS - 1 else ""
        yield Text(f"{label:>{LABEL_WIDTH}} ").append(line, "blue")
    start, end = words.moment(times.start), words.moment(times.end)
    yield _plain(f"{'':{LABEL_WIDTH}} {start}{end:>{max(1, columns - len(start))}}", "dim")


def sampled(series: Series, times: Times, columns: int, *, stays: bool = False) -> list[float]:
    """What the series holds in the middle of each column, 0 before its first moment.

    Behind its last moment, which closes it, 0 too, unless it `stays`.
    """
    moments, values = series
    found, place = [], 0
    end = None if stays else moments[-1]
    for column in range(columns):
        moment = times.start + (times.end - times.start) * ((column + 0.5) / columns)
        while place + 1 < len(moments) and moments[place + 1] <= moment:
            place += 1
        is_inside = moments[place] <= moment and (end is None or moment <= end)
        found.append(values[place] if is_inside else 0.0)
    return found


def blocks(values: Sequence[float], highest: float, rows: int) -> list[str]:
    """Lines of a chart, the top one first; what is more than nothing shows at least an eighth."""
    eighths = [
        min(rows * 8, max(round(value / highest * rows * 8), 1 if value > 0 else 0)) for value in values
    ]
    return [
        "".join(BLOCKS[min(8, max(0, height - row * 8))] for height in eighths)
        for row in reversed(range(rows))
    ]


def _tables(campaign: Campaign) -> Iterable[RenderableType]:
    yield from _table(
        "Time in each state",
        ("State", "Stays#", "Median#", "95 % within#", "99 % within#"),
        [
            (row.state, f"{row.count:,}", *map(words.duration, (row.median_sec, row.p95_sec, row.p99_sec)))
            for row in campaign.state_times
        ],
    )
    for grouping in campaign.node_hours:
        yield from _table(
            f"Node-hours by {words.grouping(grouping.name)}",
            (words.grouping(grouping.name), "Runs#", "Busy#", "Idle#", "Used#"),
            [
                (
                    words.group(row.group),
                    f"{row.runs:,}",
                    words.number(row.busy),
                    words.number(row.idle),
                    words.share(row.busy_fraction),
                )
                for row in grouping.rows[:MAX_ROWS]
            ],
            left_out=len(grouping.rows[MAX_ROWS:]) + grouping.left_out,
        )
    yield from _table(
        "Slowest runs",
        ("Job#", "App", "Workdir", "Nodes", "Ran#", "Ended"),
        [
            (
                run.job_id,
                run.app,
                run.workdir,
                ", ".join(run.nodes),
                words.duration(run.run_sec),
                run.end_state or "still running",
            )
            for run in campaign.slowest
        ],
        left_out=campaign.num_attempts - len(campaign.slowest),
    )
    yield from _table(
        "Failed runs by signature",
        ("Runs#", "Jobs#", "Finished since#", "Newest", "Signature"),
        [
            (
                f"{row.failures:,}",
                f"{row.jobs or 0:,}",
                f"{row.mended or 0:,}",
                f"job {row.newest_job_id}",
                words.group(row.group),
            )
            for row in campaign.failures[:MAX_ROWS]
        ],
        left_out=len(campaign.failures[MAX_ROWS:]) + campaign.failures_left_out,
    )


def _table(
    title: str, heads: Sequence[str], rows: Sequence[Sequence[object]], left_out: int = 0
) -> Iterable[RenderableType]:
    """Heads that end in `#` are those of numbers."""
    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for head in heads:
        table.add_column(
            _plain(head.removesuffix("#")), justify="right" if head.endswith("#") else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(_plain(str(cell)) for cell in row))
    yield Text()
    yield _plain(title, "bold")
    yield table
    if left_out:
        yield _plain(f"and {left_out:,} more", "dim")


def _failed(campaign: Campaign) -> Iterable[RenderableType]:
    if not campaign.failed:
        return
    yield Text()
    yield _plain("Failed jobs by cause, the most frequent first", "bold")
    causes = campaign.causes
    for cause in causes[:MAX_ROWS]:
        one = cause.newest
        exit_word = "" if one.return_code is None else f", return code {one.return_code}"
        yield _plain(f"{words.counted(len(cause.jobs), 'job')}: {cause.text}", "red")
        yield _plain(f"  {'job' if len(cause.jobs) == 1 else 'jobs'} {cause.ids}")
        yield _plain(
            f"  job {one.job_id} ({one.app} in {one.workdir}): {words.moment(one.failed)}, "
            f"out of {one.from_state}{exit_word}, {words.counted(one.attempts, 'run')}"
        )
        lines = one.tail.splitlines()
        if len(lines) > MAX_TAIL_LINES:
            left_out = words.counted(len(lines) - MAX_TAIL_LINES, "line")
            yield _plain(f"    ({left_out} before: balsam job tail {one.job_id})", "dim")
        for line in lines[-MAX_TAIL_LINES:]:
            yield _plain(f"    {line}", "dim")
    if len(causes) > MAX_ROWS:
        yield _plain(f"and {words.counted(len(causes) - MAX_ROWS, 'more cause')}", "dim")
    if campaign.num_failed > len(campaign.failed):
        yield _plain(
            f"of the newest {len(campaign.failed):,} of {campaign.num_failed:,} failed jobs; all: "
            "balsam job why --state FAILED",
            "dim",
        )


def _plain(words_of: str, style: str = "") -> Text:
    """Text of strangers as it is: no markup, no control characters."""
    return Text(printable(words_of), style)
