"""The report of a campaign, opened as a file in a real browser that has no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

from balsam.api import Job
from balsam.report.campaign import Bounds, gather
from balsam.report.page import page as page_of
from balsam.sdk.context import session
from tests.report import campaigns
from tests.services import User

SECTIONS = {
    "throughput": "Throughput",
    "utilization": "Utilization",
    "states": "Time in each state",
    "timeline": "Runs on nodes",
    "node-hours": "Node-hours",
    "failures": "Failed runs by signature",
    "failed": "Failed jobs",
    "slowest": "Slowest runs",
    "trace": "Every attempt",
}
WIDE, PHONE = (1280, 900), (390, 844)


@dataclass
class Seen:
    """What a page asked for, and what it complained of."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture
def report(user: User, tmp_path: Path) -> Path:
    with session(user.client):
        tags = campaigns.make()
        found = gather(Job.objects.filter(tags=tags), f"Report {campaigns.SCRIPT}", tags, {}, Bounds())
    file = tmp_path / "report.html"
    file.write_text(page_of(found), encoding="utf-8")
    return file


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def opened(browser: Browser, report: Path, seen: Seen, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page, as light or dark and as wide as `request.param` says."""
    scheme: Literal["light", "dark"]
    scheme, (width, height) = getattr(request, "param", ("light", WIDE))
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": height}, offline=True
    )
    page = context.new_page()

    def on_request(asked: Request) -> None:
        seen.requests.append(asked.url)

    def on_console(message: ConsoleMessage) -> None:
        seen.complaints.append(message.text)

    page.on("request", on_request)
    page.on("console", on_console)
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.goto(report.as_uri())
    yield page
    context.close()


@pytest.mark.parametrize(
    "opened",
    [("light", WIDE), ("dark", WIDE), ("light", PHONE), ("dark", PHONE)],
    indirect=True,
    ids=["light", "dark", "light phone", "dark phone"],
)
def test_all_is_shown_and_nothing_is_asked_for(opened: Page, report: Path, seen: Seen) -> None:
    for name, heading in SECTIONS.items():
        section = opened.locator(f"section#{name}")
        assert section.locator("h2").inner_text() == heading
        assert section.is_visible() and section.locator(".nothing").count() == 0
    assert opened.locator("#timeline .rows rect:not(.node)").count() == 12
    assert opened.locator("#attempts tbody tr").count() == 12
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    opened.wait_for_load_state("networkidle")
    assert seen.requests == [report.as_uri()]
    assert seen.complaints == []


@pytest.mark.parametrize("opened", [("light", WIDE), ("dark", WIDE)], indirect=True, ids=["light", "dark"])
def test_text_stands_out_in_both_themes(opened: Page, request: pytest.FixtureRequest) -> None:
    def lightness(selector: str, name: str) -> float:
        rgb: list[float] = opened.locator(selector).first.evaluate(
            "(one, name) => getComputedStyle(one)[name].match(/[0-9.]+/g).slice(0, 3).map(Number)", name
        )
        return sum(rgb) / 3

    is_dark = "dark" in request.node.callspec.id
    assert (lightness("body", "backgroundColor") < 60) is is_dark
    for selector, behind in (("h2", "section#states"), (".note", ".tiles li"), ("th", "section#states")):
        assert abs(lightness(selector, "color") - lightness(behind, "backgroundColor")) > 90, selector
    assert abs(lightness("rect.done", "fill") - lightness("section#timeline", "backgroundColor")) > 60


def test_text_of_strangers_stays_text(opened: Page, seen: Seen) -> None:
    assert opened.title() == f"Report {campaigns.SCRIPT}"
    assert opened.locator("h1").inner_text() == f"Report {campaigns.SCRIPT}"
    assert opened.locator("img, b, iframe").count() == 0 and opened.locator("script").count() == 1
    assert campaigns.SCRIPT in opened.locator("#failed pre").first.inner_text()
    assert campaigns.IMAGE in opened.locator("#attempts").inner_text()
    assert seen.complaints == []


def test_no_other_script_may_run(opened: Page, seen: Seen) -> None:
    opened.evaluate(
        "document.body.append(Object.assign(document.createElement('script'),"
        " {textContent: \"document.title = 'owned'\"}))"
    )
    assert opened.title() != "owned"
    assert any("Content Security Policy" in complaint for complaint in seen.complaints)


def column(page: Page, number: int) -> list[str]:
    """The texts of the rows that show."""
    cells = page.locator(f"#attempts tbody tr:not([hidden]) td:nth-child({number})")
    texts: list[str] = cells.all_inner_texts()
    return texts


def test_the_table_is_sorted_and_filtered(opened: Page) -> None:
    head = opened.locator("#attempts th", has_text="Ran")
    head.get_by_role("button").click()
    ran = [float(text.removesuffix(" s")) for text in column(opened, 12)]
    assert ran == sorted(ran) and head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").click()
    assert [float(text.removesuffix(" s")) for text in column(opened, 12)] == ran[::-1]

    opened.get_by_label("Show rows with").fill("run_error NODE1")
    assert column(opened, 13) == ["RUN_ERROR"] * 3 and set(column(opened, 8)) == {"node1"}
    assert opened.locator("#shown").inner_text() == "3 of 12 rows"
    opened.get_by_label("Show rows with").fill("")
    assert len(column(opened, 1)) == 12
