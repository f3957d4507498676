"""The report as one file of HTML, which asks nobody for anything: style, script and drawings are in it.

What it shows of jobs is text of strangers: everything goes through the template's escaping, and the page's
policy lets nothing run but the one script whose digest it names.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from balsam.report import charts, words
from balsam.report.campaign import Campaign
from balsam.report.tiles import tiles

if TYPE_CHECKING:
    from jinja2 import Template


def page(campaign: Campaign) -> str:
    """The page's text, UTF-8 where it is written."""
    style, script = _text("report.css"), _text("report.js")
    span = campaign.span
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return _template().render(
        campaign=campaign,
        shared_tags=campaign.shared_tags,
        policy=policy,
        style=style,
        script=script,
        tiles=tiles(campaign),
        throughput=charts.steps([("jobs finished", "busy", charts.held(campaign.finished, span))], span),
        rates=charts.steps([("jobs per hour", "busy", campaign.rates)], span),
        nodes=charts.steps(
            [("available", "available", campaign.available), ("busy", "busy", campaign.busy)], span, "nodes"
        ),
        gantt=charts.gantt(campaign.timeline, campaign.timeline_span, campaign.made),
        ranges=charts.ranges(campaign.state_times),
        hours=charts.hours,
        bars_shown=campaign.num_bars,
        kind_words=charts.KIND_WORDS,
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    pages = Environment(
        loader=PackageLoader("balsam.report", "page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    pages.filters |= {
        name: getattr(words, name)
        for name in ("duration", "number", "share", "moment", "group", "grouping", "reason", "counted")
    }
    pages.filters["ours"] = Markup  # of the package's own files, never of what is told
    return pages.get_template("report.html")


def _text(name: str) -> str:
    return files("balsam.report").joinpath("page", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
