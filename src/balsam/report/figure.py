"""The report as one figure, PNG or SVG; needs matplotlib (the extra `plot`), but no display."""

from __future__ import annotations

import warnings
from typing import IO

from balsam.report import drawing, words
from balsam.report.campaign import Campaign, Grouping
from balsam.report.charts import gantt, held
from balsam.report.tiles import tiles

DPI = 110
MAX_FAILURES = 6
NAME_CHARS = 24  # of an app beside its bar: longer ones would leave no room for the charts above


def write_figure(campaign: Campaign, file: IO[bytes], kind: str) -> None:
    """Six charts on one page; `kind`: `png` or `svg`. Raises ImportError without matplotlib."""
    from matplotlib.figure import Figure

    span = campaign.span
    chart = gantt(campaign.timeline, campaign.timeline_span, campaign.made)
    timeline = min(3.5, max(0.7, chart.height / 150)) if chart else 0.7
    failures = max(0.5, 0.35 * len(campaign.failures[:MAX_FAILURES]))
    figure = Figure(figsize=(11, 6.5 + timeline + failures), layout="constrained")
    axes = figure.subplot_mosaic(
        [["finished", "nodes"], ["timeline", "timeline"], ["states", "hours"], ["failures", "failures"]],
        height_ratios=[2.7, timeline, 2.7, failures],
    )
    figure.suptitle(drawing.drawable(campaign.title), fontweight="bold", parse_math=False)
    by_app = next((one for one in campaign.node_hours if one.name == "app"), Grouping("app", []))
    shown, runs = campaign.num_bars, campaign.num_attempts
    newest = f"the newest {shown:,} of {words.counted(runs, 'run')}" if shown < runs else ""
    rare = campaign.failures[MAX_FAILURES:]
    drawing.draw_series(axes["finished"], {"": held(campaign.finished, span)}, "jobs finished")
    drawing.draw_nodes(axes["nodes"], campaign.available, campaign.busy)
    drawing.draw_timeline(
        axes["timeline"], campaign.timeline, campaign.timeline_span, campaign.made, note=newest
    )
    drawing.draw_state_times(axes["states"], campaign.state_times)
    named = [
        row.model_copy(update={"group": words.cut(words.group(row.group), NAME_CHARS)}) for row in by_app.rows
    ]
    drawing.draw_node_hours(axes["hours"], named, left_out=by_app.left_out)
    drawing.draw_failures(
        axes["failures"],
        campaign.failures[:MAX_FAILURES],
        left_out=len(rare) + campaign.failures_left_out,
    )
    spans = {"finished": span, "nodes": span, "timeline": campaign.timeline_span}
    for name, times in spans.items():
        if times is not None:
            drawing.show_span(axes[name], times)
    told = [f"{tile.label}: {tile.value}" for tile in tiles(campaign)]
    figure.supxlabel(f"{'   '.join(told)}   ({words.moment(campaign.made)} UTC)", fontsize="small")
    with warnings.catch_warnings():
        # Of names in scripts that matplotlib's font lacks a box is drawn: nobody at a terminal can mend that.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(file, format=kind, dpi=DPI)
