"""How long the dashboard takes over a million jobs: pages and filters by their answers, some by their paint.

python -m benchmarks.pages [--jobs N] [--engine postgresql|sqlite]
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from balsam.sdk.context import use_client
from benchmarks import grown, serving
from benchmarks.server_apps import Simulate

REPEATS = 5
FAILED = "UPDATE {} SET {} WHERE {} % 25 = 0"
PAGES = (
    "/ui/",
    "/ui/?part=progress",
    "/ui/?part=failures",
    "/ui/jobs",
    "/ui/jobs?ordering=-last_update",
    "/ui/jobs?state=FAILED",
    "/ui/jobs?state=FAILED&ordering=-last_update",
    "/ui/jobs?state=RUNNING",
    "/ui/jobs?tags=campaign:c3",
    "/ui/jobs?tags=campaign:c3, lot:l7",
    "/ui/jobs?tags=sample:s8&state=FAILED",
    "/ui/jobs?workdir__contains=study/99999",
    "/ui/jobs?workdir__contains=study/99999&state=FAILED",
    "/ui/jobs?site_id={site}",
    "/ui/jobs?app_id={app}",
    "/ui/jobs?failure={failure}",
    "/ui/jobs?last_update_after={day}",
    "/ui/jobs/{job}",
    "/ui/batch-jobs",
    "/ui/apps",
    "/ui/sites",
    "/ui/figures/jobs/utilization?bins=240&timestamp_after={hour}",
    "/ui/figures/jobs/throughput-rates?bins=60&timestamp_after={hour}",
    "/ui/figures/jobs/utilization?bins=240",
    "/ui/timeline/bars?bins=1000&after={hour_us}",
    "/ui/timeline/bars?bins=1000",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--engine", choices=serving.ENGINES, default=serving.POSTGRESQL)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        serving.engine(args.engine, Path(folder)) as engine,
        engine.serve() as server,
    ):
        measure(server, args.jobs)


def measure(server: serving.Serving, jobs: int) -> None:
    with server.client() as client:
        site = client.post("/sites/", {"name": "here", "path": "/here"})
        with use_client(client):
            Simulate.site = site["id"]
            Simulate.sync()
        grown.fill(server, client, site["id"], jobs)
        app = client.get("/apps/", {"name": "Simulate"})["results"][0]["id"]
    fail_some(server)
    now = time.time()
    names: dict[str, Any] = {
        "site": site["id"],
        "app": app,
        "failure": "1: ValueError: lost atoms",
        "job": grown.FIRST_ID + jobs - 1,
        "day": time.strftime("%Y-%m-%dT%H:%M", time.gmtime(now - 86_400)),
        "hour": time.strftime("%Y-%m-%dT%H:%M", time.gmtime(now - 3_600)),
        "hour_us": int((now - 3_600) * 1e6),
    }
    cookie = {f"balsam-session-{urlsplit(server.url).port}": server.token}
    with httpx.Client(
        base_url=server.url, headers={"accept": "text/html"}, cookies=cookie, timeout=120
    ) as http:
        for page in PAGES:
            path = page.format(**names)
            took = [timed(http, path) for _ in range(REPEATS + 1)][1:]
            print(f"{1e3 * statistics.median(took):8.0f} ms  {path}", flush=True)
        paint(server, cookie)


def fail_some(server: serving.Serving) -> None:
    """One in 25 has failed, for one of two reasons."""
    with server.connect() as conn:
        conn.execute(FAILED.format("jobs", "state = 'FAILED'", "id"))
        conn.execute(
            FAILED.format(
                "runs", "end_state = 'RUN_ERROR', signature = '1: ValueError: lost atoms'", "job_id"
            )
        )
        conn.execute("UPDATE runs SET signature = '137: Killed' WHERE job_id % 250 = 0")
        if server.engine == serving.POSTGRESQL:
            conn.execute("ANALYZE")


def timed(http: httpx.Client, path: str) -> float:
    began = time.perf_counter()
    answer = http.get(path, headers={"hx-request": "true"} if "part=" in path else {})
    took = time.perf_counter() - began
    if answer.status_code != 200:
        raise SystemExit(f"{path}: {answer.status_code} {re.sub('<[^>]+>', ' ', answer.text)[:500]}")
    return took


def paint(server: serving.Serving, cookie: dict[str, str]) -> None:
    """First and largest paint of the overview in a real browser."""
    from tests.machines.browser import chromium

    [(name, value)] = cookie.items()
    with chromium() as browser:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.add_cookies([{"name": name, "value": value, "domain": "127.0.0.1", "path": "/ui"}])
        page = context.new_page()
        for path in ("/ui/", "/ui/jobs", "/ui/jobs?state=FAILED", "/ui/timeline"):
            took = []
            for _ in range(REPEATS):
                page.goto(f"{server.url}{path}")
                page.wait_for_timeout(300)
                script = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
                took.append(page.evaluate(script))
            print(f"{statistics.median(took):8.0f} ms  first paint of {path}", flush=True)
        context.close()


if __name__ == "__main__":
    main()
