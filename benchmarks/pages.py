"""How fast the dashboard is where a million jobs have run, and whether a page that stays open grows.

    python benchmarks/pages.py [--quick] [--json FILE] [--engine postgresql|sqlite] [--minutes N]

Answers are timed as a page asks for them; paints, frames and memory are those of Chromium, which
`make machines` installs. docs/benchmarks.md tells what each row means.
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx
from playwright.sync_api import Browser, BrowserContext, Page

from balsam.client.transport import Client
from benchmarks import bulk, grown, report, serving
from benchmarks.report import Row, less_is_better, unjudged
from tests.machines.browser import chromium

PAINT_MS, ANSWER_MS, FRAME_MS, GROWTH = 1_000.0, 300.0, 34.0, 1.2
REASON = "1: ValueError: lost atoms"
FAILED = "UPDATE {} SET {} WHERE {} % 25 = 0"
PAINTED = {"overview": "/ui/", "jobs": "/ui/jobs", "failed jobs": "/ui/jobs?state=FAILED"}
PAINTED |= {"BatchJobs": "/ui/batch-jobs", "timeline": "/ui/timeline", "analytics": "/ui/analytics"}
FILTERS = {
    "none": "",
    "state": "state=FAILED",
    "state, by the last change": "state=FAILED&ordering=-last_update",
    "state that no job is in": "state=RUNNING",
    "tag of a tenth": "tags=campaign:c3",
    "two tags": "tags=campaign:c3, lot:l7",
    "tag and state": "tags=sample:s8&state=FAILED",
    "workdir": "workdir__contains=study/99999",
    "workdir and state": "workdir__contains=study/99999&state=FAILED",
    "site": "site_id={site}",
    "app": "app_id={app}",
    "cause of failure": "failure={failure}",
    "last day": "last_update_after={day}",
}
PARTS = {
    "overview": "/ui/",
    "overview, what is left": "/ui/?part=progress",
    "overview, failures by cause": "/ui/?part=failures",
    "a job": "/ui/jobs/{job}",
    "BatchJobs": "/ui/batch-jobs",
    "apps": "/ui/apps",
    "sites": "/ui/sites",
    "nodes busy in the last hour": "/ui/figures/jobs/utilization?bins=240&timestamp_after={hour}",
    "jobs finished in the last hour": "/ui/figures/jobs/throughput-rates?bins=60&timestamp_after={hour}",
    "timeline of the last hour": "/ui/timeline/bars?bins=1000&after={hour_us}",
}
# Over everything there is; a page that shows it says so while it waits.
WHOLE = {
    "nodes busy since the beginning": "/ui/figures/jobs/utilization?bins=240",
    "timeline since the beginning": "/ui/timeline/bars?bins=1000",
}
ANSWERS, PAINTS = 7, 5
LOOK_SEC = 15.0
JOBS_A_SECOND = 40
# What a frame takes while a chart is dragged to and fro.
FRAMES = """async () => {
    const gaps = [];
    let before = performance.now();
    for (let n = 0; n < 120; n += 1) {
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        gaps.push(now - before);
        before = now;
    }
    return gaps;
}"""


@dataclass(frozen=True)
class Sizes:
    """`minutes`: for which a page stays open."""

    jobs: int
    minutes: float
    judged: bool


FULL = Sizes(jobs=1_000_000, minutes=60.0, judged=True)
QUICK = Sizes(jobs=5_000, minutes=0.2, judged=False)


@dataclass(frozen=True)
class Site:
    """A server with a grown database, and what its pages are asked for."""

    server: serving.Serving
    site_id: int
    names: Mapping[str, Any]

    @property
    def cookie(self) -> str:
        return f"balsam-session-{urlsplit(self.server.url).port}"


def measure(engine: serving.Engine, sizes: Sizes) -> list[Row]:
    """Answers, paints, frames, and the memory of a page that stays open while jobs run."""
    with engine.serve() as server, server.client() as client:
        site = _grown(server, client, sizes.jobs)
        rows = answer_rows(site)
        with chromium() as browser:
            rows += paint_rows(site, browser)
            rows += growth_rows(site, browser, client, sizes.minutes)
    return [row if sizes.judged else unjudged(row) for row in rows]


def _grown(server: serving.Serving, client: Client, count: int) -> Site:
    site_id = bulk.set_up(client)
    grown.fill(server, client, site_id, count)
    _fail_some(server)
    app = client.get("/apps/", {"name": "Simulate"})["results"][0]["id"]
    now = time.time()
    names = {
        "site": site_id,
        "app": app,
        "failure": REASON,
        "job": grown.FIRST_ID + count - 1,
        "day": time.strftime("%Y-%m-%dT%H:%M", time.gmtime(now - 86_400)),
        "hour": time.strftime("%Y-%m-%dT%H:%M", time.gmtime(now - 3_600)),
        "hour_us": int((now - 3_600) * 1e6),
    }
    return Site(server, site_id, names)


def _fail_some(server: serving.Serving) -> None:
    """One in 25 has failed, for one of two reasons."""
    with server.connect() as conn:
        conn.execute(FAILED.format("jobs", "state = 'FAILED'", "id"))
        ended = f"end_state = 'RUN_ERROR', signature = '{REASON}'"
        conn.execute(FAILED.format("runs", ended, "job_id"))
        conn.execute("UPDATE runs SET signature = '137: Killed' WHERE job_id % 250 = 0")
        if server.engine == serving.POSTGRESQL:
            conn.execute("ANALYZE")


def answer_rows(site: Site) -> list[Row]:
    """What the server takes for the table of jobs by each filter, and for the parts of other pages."""
    tables = {f"jobs by {name}": f"/ui/jobs?part=table&{query}" for name, query in FILTERS.items()}
    targets = dict.fromkeys({**tables, **PARTS}, ANSWER_MS)
    rows = []
    cookies = {site.cookie: site.server.token}
    with httpx.Client(base_url=site.server.url, cookies=cookies, timeout=120) as http:
        for name, path in {**tables, **PARTS, **WHOLE}.items():
            filled = path.format(**site.names)
            took = [_answer_ms(http, filled) for _ in range(ANSWERS + 1)][1:]
            rows.append(
                less_is_better(f"answer: {name}", statistics.median(took), "ms", None, targets.get(name))
            )
    return rows


def _answer_ms(http: httpx.Client, path: str) -> float:
    headers = {"accept": "text/html"} | ({"hx-request": "true"} if "part=" in path else {})
    begin = time.perf_counter()
    answer = http.get(path, headers=headers)
    took = 1e3 * (time.perf_counter() - begin)
    if answer.status_code != 200:
        raise SystemExit(f"{path}: {answer.status_code} {re.sub('<[^>]+>', ' ', answer.text)[:500]}")
    return took


def paint_rows(site: Site, browser: Browser) -> list[Row]:
    """From the request of a page to its first paint, and frames of the timeline while it is dragged."""
    rows = []
    with _visitor(site, browser) as context:
        for name, path in PAINTED.items():
            paints = [_paint_ms(context, site.server.url + path) for _ in range(PAINTS)]
            rows.append(
                less_is_better(f"first paint: {name}", statistics.median(paints), "ms", None, PAINT_MS)
            )
        gaps = _frames(context, f"{site.server.url}/ui/timeline")
        median, worst = statistics.median(gaps), max(gaps)
    return [
        *rows,
        less_is_better("frame of the timeline, dragged: median", median, "ms", None, FRAME_MS),
        less_is_better("frame of the timeline, dragged: worst", worst, "ms", None, None),
    ]


def _paint_ms(context: BrowserContext, url: str) -> float:
    page = context.new_page()
    page.goto(url)
    asked = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    while (took := page.evaluate(asked)) is None:
        page.wait_for_timeout(20)
    page.close()
    return float(took)


def _frames(context: BrowserContext, url: str) -> list[float]:
    page = context.new_page()
    page.goto(url)
    canvas = page.locator("canvas").first
    canvas.wait_for()
    page.get_by_role("button", name="All", exact=True).click()
    page.wait_for_timeout(3_000)  # the bars are there
    box = canvas.bounding_box()
    assert box is not None, "it is shown"
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.evaluate(f"window.gaps = ({FRAMES})()")
    page.mouse.move(*middle)
    page.mouse.down()
    for step in range(60):
        page.mouse.move(middle[0] + 200 * (-1) ** (step // 10) * (step % 10) / 10, middle[1])
    page.mouse.up()
    gaps = [float(gap) for gap in page.evaluate("window.gaps")]
    page.close()
    return gaps


def growth_rows(site: Site, browser: Browser, client: Client, minutes: float) -> list[Row]:
    """Heap and elements of the overview while jobs run: at the end, beside after a quarter of the time."""
    heaps, nodes = [], []
    with _visitor(site, browser) as context, _jobs_run(site, client) as ran:
        page = context.new_page()
        page.goto(f"{site.server.url}/ui/")
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            page.wait_for_timeout(1e3 * min(LOOK_SEC, 60 * minutes / 8))
            heap, count = _memory(context, page)
            heaps.append(heap)
            nodes.append(count)
        count_of_jobs = ran()
    name = f"overview open for {minutes:g} min, {count_of_jobs:,} jobs"
    return [_growth(f"{name}: heap", heaps, "MiB"), _growth(f"{name}: nodes of the document", nodes, "nodes")]


def _memory(context: BrowserContext, page: Page) -> tuple[float, float]:
    tools = context.new_cdp_session(page)
    tools.send("HeapProfiler.collectGarbage")
    tools.send("Performance.enable")
    told = {one["name"]: float(one["value"]) for one in tools.send("Performance.getMetrics")["metrics"]}
    tools.detach()
    return told["JSHeapUsedSize"] / 2**20, told["Nodes"]


def _growth(name: str, values: list[float], unit: str) -> Row:
    quarter = max(1, len(values) // 4)
    before = statistics.median(values[quarter : 2 * quarter] or values)
    return less_is_better(name, statistics.median(values[-quarter:]), unit, before, GROWTH * before)


@contextmanager
def _visitor(site: Site, browser: Browser) -> Iterator[BrowserContext]:
    """Somebody who is logged in."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    host = urlsplit(site.server.url).hostname or ""
    context.add_cookies([{"name": site.cookie, "value": site.server.token, "domain": host, "path": "/ui"}])
    yield context
    context.close()


@contextmanager
def _jobs_run(site: Site, client: Client) -> Iterator[Callable[[], int]]:
    """Jobs come, run and end all the time; how many so far."""
    over = threading.Event()
    took = [0.0]

    def work() -> None:
        while not over.wait(max(0.0, 1.0 - took[-1])):
            took.append(sum(bulk.run(client, site.site_id, JOBS_A_SECOND).values()))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield lambda: (len(took) - 1) * JOBS_A_SECOND
    finally:
        over.set()
        thread.join()


def main() -> int:
    parser = report.parser(__doc__)
    parser.add_argument("--engine", choices=serving.ENGINES, default=serving.POSTGRESQL)
    parser.add_argument("--minutes", type=float, metavar="N", help="for which a page stays open")
    options = parser.parse_args()
    sizes = QUICK if options.quick else FULL
    if options.minutes:
        sizes = replace(sizes, minutes=options.minutes)
    with (
        tempfile.TemporaryDirectory(prefix="balsam-pages-") as folder,
        serving.engine(options.engine, Path(folder)) as engine,
    ):
        return report.publish(measure(engine, sizes), options.json, "reference")


if __name__ == "__main__":
    sys.exit(main())
