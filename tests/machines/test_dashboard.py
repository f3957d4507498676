"""The dashboard in a real browser: a real server, a real site with a running campaign, every page."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect

from balsam.client.transport import Client
from balsam.runtime.site_folder import create_site_folder
from tests.machines.browser_page import Watch, axe_faults, watched
from tests.server.lab import Lab
from tests.services import PasswordServer, User
from tests.site.bench import Bench
from tests.waiting import wait_until

EVIL = "<img src=x onerror=alert(1)>"
WIDE: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 800}
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
NAMES = ("Overview", "Jobs", "BatchJobs", "Timeline", "Analytics", "Sites", "Apps", "Transfers", "Tokens")


@pytest.fixture(scope="module")
def engine() -> str:
    """The pages ask for the same on both engines, which tests over HTTP run on."""
    return "sqlite"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PasswordServer]:
    with PasswordServer(f"sqlite:///{tmp_path_factory.mktemp('server') / 'balsam.db'}") as one:
        yield one


@pytest.fixture(scope="module")
def user(server: PasswordServer) -> Iterator[User]:
    one = server.new_user()
    yield one
    one.client.close()


class Campaign:
    """A site whose agent and launcher really run: jobs that finish, fail, go on, and wait."""

    def __init__(self, folder: Path, client: Client) -> None:
        self.bench = Bench(create_site_folder(folder / "site", "laptop", client), client)
        self.bench.start()
        self.talker = self.bench.app(f'for i in $(seq 600); do echo "line $i {EVIL}"; sleep 0.2; done')
        self.quick = self.bench.app("sleep 0.2")
        self.faulty = self.bench.app(f"echo '{EVIL} is no number'; exit 3")
        self.allocation = self.bench.ask(wall_time_min=20)
        self.done = self.bench.jobs(self.quick, 12, node_packing_count=8, tags={"series": "quick"})
        self.failed = self.bench.jobs(self.faulty, 3, node_packing_count=8, tags={"series": "faulty"})
        self.bench.await_states(self.done, "JOB_FINISHED", 60)
        self.bench.await_states(self.failed, "FAILED", 60)
        [self.talking] = self.bench.jobs(self.talker, 1, node_packing_count=8, priority=9)
        [self.child] = self.bench.jobs(self.quick, 1, parent_ids=[self.talking])
        self.bench.await_states([self.talking], "RUNNING", 30)


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory, user: User) -> Iterator[Campaign]:
    made = Campaign(tmp_path_factory.mktemp("campaign"), user.client)
    yield made
    made.bench.close()


@pytest.fixture
def lab(user: User) -> Lab:
    return Lab(user.client, hooks=[])


def log_in(context: BrowserContext, server: PasswordServer, user: User) -> Page:
    page = context.new_page()
    page.goto(f"{server.url}/ui/login")
    page.fill("[name=username]", user.name)
    page.fill("[name=password]", user.password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/ui/")
    return page


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport=WIDE)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext, server: PasswordServer, user: User) -> Iterator[Page]:
    """Logged in by its form; nothing that it does may break a rule of the pages."""
    made = log_in(context, server, user)
    watch = watched(made)
    yield made
    assert watch.faults == []


def test_all_pages_open_by_clicks_and_are_accessible(
    browser: Browser,
    server: PasswordServer,
    user: User,
    campaign: Campaign,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    shots = tmp_path_factory.mktemp("screenshots")
    for theme in ("light", "dark"):
        for size, name in ((WIDE, "wide"), (PHONE, "phone")):
            context = browser.new_context(viewport=size, color_scheme=theme)
            page = log_in(context, server, user)
            watch = watched(page)
            for where in walk(page, campaign):
                page.wait_for_timeout(300)
                page.screenshot(path=shots / f"{where}-{name}-{theme}.png", full_page=True)
                assert axe_faults(page) == [], (where, name, theme)
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (where, name)
            assert watch.faults == [], (name, theme)
            context.close()
    assert len(list(shots.glob("*.png"))) == 4 * 18


def walk(page: Page, campaign: Campaign) -> Iterator[str]:
    """Every page, by the links that lead there."""
    for name in NAMES:
        page.get_by_label("Pages", exact=True).get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        expect(page.locator("#live")).to_have_text("live")
        yield name
    for name, path, link in (
        ("job", "Jobs", str(campaign.talking)),
        ("failed job", "Jobs", str(campaign.failed[0])),
        ("batch job", "BatchJobs", str(campaign.allocation)),
        ("confirm", "Jobs", "Kill…"),
        ("submit job", "Overview", "Submit a job"),
        ("submit batch job", "Overview", "Ask for nodes"),
    ):
        page.get_by_label("Pages", exact=True).get_by_role("link", name=path, exact=True).click()
        role: Literal["button", "link"] = "button" if link.endswith("…") else "link"
        page.get_by_role(role, name=link, exact=True).first.click()
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        yield name
    page.goto(page.url.partition("/ui/")[0] + "/ui/apps")
    page.locator("tbody a").first.click()
    yield "app"
    page.goto(page.url.partition("/ui/")[0] + "/ui/nowhere")
    yield "nowhere"
    page.goto(page.url.partition("/ui/")[0] + "/ui/jobs?state=FAILED&tags=series:faulty")
    yield "filtered"


def seconds_until(condition: Callable[[], bool], limit: float = 10.0) -> float:
    began = time.monotonic()
    wait_until(condition, limit)
    return time.monotonic() - began


def count_of(page: Page, state: str) -> int:
    found = page.locator(f"#part-states a:has-text('{state}') .count")
    return int(re.sub(r"\D", "", found.inner_text())) if found.count() else 0


def test_a_finished_job_shows_within_a_second(page: Page, campaign: Campaign, lab: Lab) -> None:
    session = lab.session()
    expect(page.locator("#live")).to_have_text("live")
    took = []
    for _ in range(5):
        [job] = lab.create()
        lab.acquire(session)
        lab.move([job], "RUNNING", session)
        before = count_of(page, "JOB_FINISHED")
        page.wait_for_timeout(700)
        lab.move([job], "RUN_DONE", session)
        took.append(seconds_until(lambda before=before: count_of(page, "JOB_FINISHED") > before))  # type: ignore[misc]
    assert statistics.median(took) < 1.0, took  # one may meet whatever else the machine does


def test_a_job_is_killed_and_retried_from_its_page(
    page: Page, server: PasswordServer, campaign: Campaign
) -> None:
    [job] = campaign.bench.jobs(campaign.talker, 1, node_packing_count=8, priority=9)
    page.goto(f"{server.url}/ui/jobs/{job}")
    state = page.locator("#part-state .state")
    expect(state).to_have_text("RUNNING", timeout=30_000)
    output = page.get_by_role("region", name="job.out")
    expect(output).to_contain_text("line 3", timeout=15_000)
    expect(output).to_contain_text("line 8", timeout=15_000)  # it goes on by itself
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Kill", exact=True).click()
    expect(state).to_have_text("FAILED", timeout=20_000)
    expect(page.locator("[data-why]")).to_contain_text("killed")
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(state).to_have_text("RUNNING", timeout=30_000)
    expect(page.locator("#part-history svg rect.running")).to_have_count(2)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Kill", exact=True).click()
    expect(state).to_have_text("FAILED", timeout=20_000)


def test_many_jobs_are_killed_and_retried_from_the_list(page: Page, server: PasswordServer, lab: Lab) -> None:
    jobs = lab.create(60, tags={"of": "the list"})
    page.goto(f"{server.url}/ui/jobs")
    page.get_by_text("Filters").click()
    page.fill("[name=tags]", "of:the list")
    page.get_by_role("button", name="Show").click()
    assert "tags=of" in page.url and "app_id" not in page.url
    page.check(f"[name=ticked][value='{jobs[-1]}']")
    page.wait_for_timeout(1500)
    assert page.is_checked(f"[name=ticked][value='{jobs[-1]}']")  # also when the list has been made anew
    page.get_by_role("button", name="Kill…").click()
    page.get_by_role("button", name="Kill 1 job").click()
    expect(page.get_by_text("1 job killed.")).to_be_visible()
    page.get_by_role("button", name="Kill…").click()
    expect(page.get_by_text("No job is ticked, so nothing is done.")).to_be_visible()
    page.get_by_role("link", name="Back").click()
    page.get_by_label("all 60").check()
    page.get_by_role("button", name="Kill…").click()
    page.get_by_role("button", name="Kill 59 jobs").click()
    expect(page.get_by_text("59 jobs killed.")).to_be_visible()
    page.get_by_label("all 60").check()
    page.get_by_role("button", name="Retry…").click()
    page.get_by_role("button", name="Retry 60 jobs").click()
    expect(page.get_by_text("60 jobs sent on.")).to_be_visible()
    assert {lab.state(job) for job in jobs[::10]} == {"PREPROCESSED"}


def test_what_users_write_stays_text(
    page: Page, server: PasswordServer, campaign: Campaign, lab: Lab
) -> None:
    [job] = lab.create(workdir=EVIL, tags={EVIL: EVIL})
    for path in (
        "",
        "jobs",
        f"jobs/{job}",
        f"jobs/{campaign.talking}",
        f"jobs/{campaign.failed[0]}",
        "analytics",
    ):
        page.goto(f"{server.url}/ui/{path}")
        expect(page.locator("main")).to_contain_text(EVIL, timeout=15_000) if path.endswith(
            str(job)
        ) else None
        page.wait_for_timeout(600)
        assert page.locator("img[src=x]").count() == 0, path
    page.goto(f"{server.url}/ui/jobs/{campaign.talking}")
    expect(page.get_by_role("region", name="job.out")).to_contain_text(EVIL, timeout=15_000)


def test_a_cut_is_told_within_ten_seconds_and_caught_up_with(
    page: Page, context: BrowserContext, server: PasswordServer, lab: Lab
) -> None:
    banner = page.get_by_text("This page is stale")
    expect(page.locator("#live")).to_have_text("live")
    context.route("**/ui/live", lambda route: route.abort())
    server.server.watchers.end_all()
    assert seconds_until(banner.is_visible, 15.0) < 10.0
    before = count_of(page, "PREPROCESSED")
    lab.create(7)
    page.wait_for_timeout(1000)
    assert count_of(page, "PREPROCESSED") == before
    context.unroute("**/ui/live")
    expect(banner).to_be_hidden(timeout=15_000)
    wait_until(lambda: count_of(page, "PREPROCESSED") == before + 7, 10.0)


def test_output_is_said_to_be_followed_again_though_the_job_is_silent(
    page: Page, server: PasswordServer, campaign: Campaign
) -> None:
    [job] = campaign.bench.jobs(campaign.bench.app("echo so far; sleep 60"), 1, node_packing_count=8)
    campaign.bench.await_states([job], "RUNNING", 30)
    page.goto(f"{server.url}/ui/jobs/{job}")
    expect(page.get_by_role("region", name="job.out")).to_have_text("so far\n", timeout=15_000)
    state = page.locator(".tail-state")
    follow = page.get_by_role("button", name="Follow")
    follow.click()
    page.route("**/output?*", lambda route: route.abort(), times=1)
    follow.click()
    expect(state).to_have_text("the server can't be reached")
    expect(state).to_have_text("following", timeout=8_000)  # 5 s until it asks, and then no wait for a line


def test_a_page_whose_login_has_ended_keeps_the_way_to_another(
    context: BrowserContext, server: PasswordServer, user: User
) -> None:
    page = log_in(context, server, user)
    expect(page.locator("#live")).to_have_text("live")
    newest = max(one["id"] for one in user.client.get("/auth/logins"))
    user.client.delete(f"/auth/logins/{newest}")
    link = page.get_by_role("link", name="Log in again")
    expect(link).to_be_visible(timeout=15_000)
    expect(page.locator("#live")).to_have_text("not live")
    page.wait_for_timeout(10_000)  # by then a page that waits for its server would say that it is stale
    expect(page.locator("#stale")).to_have_text("This login has ended. Log in again")
    link.click()
    page.wait_for_url("**/ui/login*")


def test_a_stranger_sees_nothing_of_it(
    browser: Browser, server: PasswordServer, campaign: Campaign, lab: Lab
) -> None:
    stranger = server.new_user()
    with stranger.client:
        context = browser.new_context(viewport=WIDE)
        page = log_in(context, server, stranger)
        for name in NAMES:
            page.get_by_label("Pages", exact=True).get_by_role("link", name=name, exact=True).click()
            page.wait_for_timeout(300)
            assert page.locator("main a[href*='/ui/jobs/']").count() == 0, name
            assert "laptop" not in page.locator("main").inner_text(), name
        page.goto(f"{server.url}/ui/")
        page.wait_for_timeout(500)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        lab.create(3)
        page.wait_for_timeout(1500)
        assert [url for url in asked if "part=states" in url] == []  # not even that something happens
        for path in (
            f"jobs/{campaign.talking}",
            f"batch-jobs/{campaign.allocation}",
            f"apps/{campaign.quick}",
        ):
            answer = page.goto(f"{server.url}/ui/{path}")
            assert answer is not None and answer.status == 404
        context.close()


def test_charts_zoom_pan_and_tell_values(page: Page, campaign: Campaign) -> None:
    plot = page.locator("[data-plot=use] .u-over")
    expect(plot).to_be_visible()
    box = plot.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    with page.expect_request(re.compile(r"/ui/figures/.*timestamp_before")) as asked:
        page.mouse.move(box["x"] + box["width"] * 0.5, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.95, middle, steps=5)
        page.mouse.up()
    window = span(asked.value.url)
    assert 1500 < window[1] - window[0] < 1750  # 45 % of an hour
    with page.expect_request(lambda request: begins_before(request.url, window[0] - 300)) as asked:
        page.get_by_role("button", name="Earlier").click()
    earlier = span(asked.value.url)
    assert earlier[1] - earlier[0] == pytest.approx(window[1] - window[0], abs=2)
    page.get_by_role("button", name="Now").click()
    expect(plot).to_be_visible()
    page.wait_for_timeout(500)
    page.mouse.move(box["x"] + box["width"] * 0.98, middle)
    legend = page.locator("[data-plot=use] .u-legend")
    expect(legend).to_contain_text(re.compile(r"busy\s*:?\s*[\d.]+"))


def test_a_rate_over_all_time_begins_with_the_runs(
    page: Page, server: PasswordServer, campaign: Campaign
) -> None:
    job = campaign.done[0]
    with page.expect_response(re.compile(rf"/throughput-rates\?id={job}&")) as answered:
        page.goto(f"{server.url}/ui/analytics?id={job}")
    [of_app] = answered.value.json()["groups"]
    # One job has one end: over its own instant alone the rate would be billions an hour.
    # It slept for 0.2 s, which its launcher may see as a little less; there are 60 bins.
    assert 0 < max(of_app["values"]) < 60 * 3600 / 0.1


def begins_before(url: str, moment: float) -> bool:
    return "timestamp_before" in url and span(url)[0] < moment


def span(url: str) -> tuple[float, float]:
    """Start and end of the window that a request names, in seconds."""
    query = parse_qs(urlsplit(url).query)
    moments = (datetime.fromisoformat(query[f"timestamp_{side}"][0]) for side in ("after", "before"))
    start, end = (moment.timestamp() for moment in moments)
    return start, end


def test_the_timeline_leads_to_a_job(page: Page, server: PasswordServer, campaign: Campaign) -> None:
    page.goto(f"{server.url}/ui/timeline?tags=series:quick")
    expect(page.locator("#timeline .summary")).to_contain_text("12 runs on 1 row,")
    canvas = page.locator("#timeline canvas")
    canvas.focus()
    with page.expect_response(re.compile("/ui/timeline/bars.*after=")) as answered:
        canvas.press("+")
    data = answered.value.json()
    page.wait_for_timeout(300)
    bar = next(bar for row in data["rows"] for bar in row["bars"] if bar[2] == 1)
    box = canvas.bounding_box()
    assert box is not None
    left, lane = 150, max(2, min(16, 96 // data["rows"][0]["lanes"]))
    per_us = (box["width"] - left) / (data["end_us"] - data["start_us"])
    x = left + (max(bar[4], 0) + min(bar[5], data["end_us"] - data["start_us"])) / 2 * per_us
    page.mouse.click(box["x"] + x, box["y"] + 26 + bar[0] * lane + lane / 2)
    page.wait_for_url(f"**/ui/jobs/{bar[3]}")


def test_the_keyboard_reaches_everything(page: Page, server: PasswordServer, campaign: Campaign) -> None:
    page.goto(f"{server.url}/ui/jobs")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.locator(".filters summary")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("[name=tags]")).to_be_visible()


def test_what_a_visitor_has_opened_stays_open(page: Page, campaign: Campaign, lab: Lab) -> None:
    output = page.locator("#part-failures details").first
    output.locator("summary").click()
    with page.expect_response(re.compile("part=failures")):
        lab.create()
    page.wait_for_timeout(300)
    expect(output.locator("pre")).to_be_visible()


def test_the_theme_is_kept(page: Page, server: PasswordServer) -> None:
    button = page.locator("#theme")
    button.click()
    button.click()
    expect(button).to_have_text("Theme: dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 20)"
    page.goto(f"{server.url}/ui/jobs")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_page_that_is_left_open_does_not_grow(page: Page, context: BrowserContext, lab: Lab) -> None:
    devtools = context.new_cdp_session(page)

    def weight() -> tuple[int, int]:
        devtools.send("HeapProfiler.collectGarbage")
        heap = devtools.send("Runtime.getHeapUsage")["usedSize"]
        return heap, page.evaluate("document.querySelectorAll('*').length")

    def be_busy(seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            lab.create(3)
            with suppress(Exception):
                page.wait_for_timeout(50)

    be_busy(8)
    before = weight()
    be_busy(24)
    after = weight()
    assert after[0] < before[0] * 1.15 + 500_000, (before, after)
    assert after[1] < before[1] * 1.1 + 50, (before, after)


def test_no_file_comes_from_elsewhere(context: BrowserContext, server: PasswordServer, user: User) -> None:
    page = log_in(context, server, user)
    hosts: set[Any] = set()
    page.on("request", lambda request: hosts.add(re.sub(r"(\w+://[^/]+).*", r"\1", request.url)))
    for name in NAMES:
        page.get_by_label("Pages", exact=True).get_by_role("link", name=name, exact=True).click()
        page.wait_for_timeout(200)
    assert hosts - {server.url} <= {h for h in hosts if str(h).startswith("data:")}
    assert isinstance(watched(page), Watch)
