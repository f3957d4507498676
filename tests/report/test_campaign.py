"""What is gathered, and how it is told as page, data and table."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from balsam import analytics
from balsam.api import BatchJob, Job
from balsam.report.campaign import Bounds, Campaign, gather, tag_keys
from balsam.report.page import page
from balsam.report.rows import COLUMNS, as_json, write_csv
from balsam.report.tiles import tiles
from tests.report import campaigns

TAGS_OF_PAGE = {"script": 1, "img": 0, "b": 0, "link": 0, "iframe": 0, "style": 1}


class Elements(HTMLParser):
    """Counts the elements of a page, and keeps its attributes and the text outside of script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        if tag in ("script", "style"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open:
            self.text += data


def test_everything_is_gathered(campaign: Campaign) -> None:
    assert campaign.backlog is not None and campaign.total is not None
    assert (campaign.backlog.finished, campaign.backlog.failed, campaign.backlog.left) == (9, 3, 1)
    assert campaign.num_attempts == len(campaign.attempts) == 12
    assert campaign.num_finished == 9
    assert campaign.shared_tags == {"campaign": "hostile"}
    assert [one.name for one in campaign.node_hours] == ["app", "site", "batch_job", "tag:note", "tag:size"]
    assert {node.node: len(node.bars) for node in campaign.timeline} == {"node0": 6, "node1": 6}
    assert [row.failures for row in campaign.failures] == [3]
    assert {one.tail for one in campaign.failed} == {campaigns.TAIL}
    assert [one.from_state for one in campaign.failed] == ["RUN_ERROR"] * 3
    took = [one.run_sec or 0 for one in campaign.slowest]
    assert took == sorted(took, reverse=True) and len(took) == 10
    values = {tile.label: tile.value for tile in tiles(campaign)}
    assert (values["Finished"], values["Failed"], values["Left"], values["Runs"]) == ("9", "3", "1", "12")


def test_bounds_hold_and_what_they_leave_out_is_told(tags: dict[str, str]) -> None:
    bounds = Bounds(attempts=1, bars=4, slowest=2, failed=1, signatures=1, groups=2, bins=3)
    found = gather(Job.objects.filter(tags=tags), "Few", tags, {}, bounds, by_tags=["size"])
    assert (len(found.attempts), len(found.slowest), len(found.failed)) == (1, 2, 1)
    assert sum(len(node.bars) for node in found.timeline) == 4
    assert found.timeline_span != found.span and found.num_bars == 4
    assert found.shared_tags == tags  # the one row has others, but so may those that were left out
    sizes = found.node_hours[-1]
    assert (len(sizes.rows), sizes.left_out) == (2, 1) and sizes.left_out_busy > 0
    assert len(found.busy[0]) <= 4
    text = " ".join(Elements(page(found)).text.split())
    assert "the newest of 12 attempts" in text and "The newest 4 runs of 12." in text
    assert "1 of 3" in text and "1 group more, busy for" in text


def test_a_window_leaves_out_what_is_not_in_it(tags: dict[str, str]) -> None:
    until = campaigns.START + timedelta(seconds=40)
    found = gather(Job.objects.filter(tags=tags), "Early", tags, {"timestamp_before": until}, Bounds())
    assert found.num_attempts == 4 and len(found.attempts) == 4


def test_a_query_of_batch_jobs_is_reported_too(tags: dict[str, str]) -> None:
    found = gather(BatchJob.objects.all(), "All", {}, {}, Bounds())
    assert found.num_attempts == 12 and found.backlog is not None and found.backlog.left == 0


def test_nothing_makes_a_report_as_well(tags: dict[str, str]) -> None:
    empty = gather(Job.objects.filter(tags={"campaign": "none"}), "None", {}, {}, Bounds())
    assert empty.num_attempts == 0 and empty.span is None
    text = page(empty)
    assert "No job has finished." in text and "Nothing has run." in text and "No job has failed." in text
    assert json.loads(as_json(empty))["attempts"] == []


def test_the_page_shows_text_of_strangers_as_text(campaign: Campaign) -> None:
    elements = Elements(page(campaign))
    for tag, count in TAGS_OF_PAGE.items():
        assert elements.counts[tag] == count, tag
    assert not {name for name in elements.attributes if name.startswith("on") or name in ("style", "src")}
    assert campaigns.SCRIPT in elements.text and campaigns.IMAGE in elements.text
    assert campaigns.TAG in elements.text and "</pre></details>" in elements.text


def test_the_page_asks_nobody_for_anything(campaign: Campaign) -> None:
    text = page(campaign)
    assert "default-src &#39;none&#39;" in text and "unsafe" not in text.partition("</head>")[0]
    assert re.findall(r"(?:https?:)?//[a-z]", Elements(text).text) == []
    assert not re.search(r"url\(|@import|src=|href=", re.sub(r"&[a-z#0-9]+;[^<]*", "", text))


def test_json_holds_everything(campaign: Campaign) -> None:
    told = json.loads(as_json(campaign))
    assert told["num_attempts"] == 12 and len(told["attempts"]) == 12
    assert told["backlog"]["failed"] == 3
    assert told["attempts"][0].keys() == set(COLUMNS)
    assert len(told["busy"]["times"]) == len(told["busy"]["values"]) > 0
    assert told["node_hours"][0]["rows"][0]["runs"] == 12


def test_the_table_has_a_row_for_each_attempt(tags: dict[str, str]) -> None:
    file = io.StringIO()
    write_csv(analytics.each_attempt(Job.objects.filter(tags=tags), order="-start"), file)
    rows = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert len(rows) == 12
    starts = [row["start"] for row in rows]
    assert starts == sorted(starts, reverse=True)
    [strange] = [row for row in rows if campaigns.IMAGE in row["workdir"]]
    assert json.loads(strange["tags"])["note"] == campaigns.TAG and strange["tail"] == campaigns.TAIL
    assert (strange["end_state"], strange["return_code"], json.loads(strange["nodes"])) == (
        "RUN_ERROR",
        "1",
        ["node1"],
    )


@pytest.mark.parametrize(
    ("values", "keys"), [({"a": 2, "b": 13, "c": 1, "d": 3}, ["a", "d"]), ({}, [])], ids=["some", "none"]
)
def test_tags_that_tell_groups_apart(campaign: Campaign, values: dict[str, int], keys: list[str]) -> None:
    one = campaign.attempts[0]
    attempts = [
        one.model_copy(update={"tags": {key: str(number % many) for key, many in values.items()}})
        for number in range(20)
    ]
    assert tag_keys(attempts) == keys
