"""What `/metrics` tells beyond requests, that it is told at once, and that the Grafana dashboard finds it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from balsam.core.states import JobState
from balsam.server.census import WAIT_SEC
from balsam.store.database import Database
from tests import asking
from tests.server.lab import Lab
from tests.server.receivers import Webhook
from tests.server.test_operations import samples, scrape
from tests.services import DeployedServer, PasswordServer, PostgresServer
from tests.waiting import wait_until

DASHBOARD = Path(__file__).resolve().parents[2] / "deploy" / "grafana-dashboard.json"
# Words of PromQL, its functions, and labels: what else stands in a query is a metric.
METRIC = re.compile(r"\bbalsam_\w+")
SELECTOR = re.compile(r"\b(balsam_\w+)\{([^}]*)\}")


@pytest.fixture
def server(new_database: Callable[[], str]) -> Iterator[PasswordServer]:
    with PasswordServer(new_database(), alert_sec=0.2, alert_hosts=("127.0.0.1",)) as server:
        yield server


def test_runs_are_counted_as_they_start_and_end(server: PasswordServer) -> None:
    with server.new_user().client as client:
        lab = Lab(client, hooks=[])
        session, jobs = lab.session(), lab.create(3)
        lab.acquire(session)
        lab.run(session, jobs[:1])
        lab.run(session, jobs[1:], "RUN_ERROR")
        found = scrape(server)
    moves = {state: found[f"balsam_job_moves_total to_state={state}"] for state in JobState}
    assert (moves[JobState.running], moves[JobState.run_done], moves[JobState.run_error]) == (3, 1, 2)
    assert (moves[JobState.job_finished], moves[JobState.failed], moves[JobState.run_timeout]) == (1, 2, 0)


def test_a_refused_move_counts_nothing(server: PasswordServer) -> None:
    with server.new_user().client as client:
        lab = Lab(client, hooks=[])
        session, [job] = lab.session(), lab.create()
        lab.move([job], "RUNNING", session)
        assert scrape(server)["balsam_job_moves_total to_state=RUNNING"] == 0


def test_allocations_and_alerts_are_counted(server: PasswordServer) -> None:
    with Webhook([500] * 1000) as hook, server.new_user().client as client:
        lab = Lab(client, hooks=[])
        lab.batch_job(num_nodes=3)
        lab.batch_job(num_nodes=4)
        session, jobs = lab.session(), lab.create()
        lab.acquire(session)
        lab.run(session, jobs, "RUN_ERROR")
        rule = {"kind": "failure_rate", "min_jobs": 1, "channel": "webhook", "address": hook.url}
        client.post("/alerts/rules", rule)
        wait_until(lambda: client.get("/alerts/"))
        wait_until(lambda: "balsam_alerts_firing" in scrape(server))
        found = scrape(server)
    assert found["balsam_batch_jobs state=pending_submission"] == 2
    assert found["balsam_batch_job_nodes state=pending_submission"] == 7
    assert found["balsam_batch_jobs state=running"] == 0
    assert found["balsam_alerts_firing"] == found["balsam_alert_messages_unsent"] == 1
    assert 0 < found["balsam_alert_oldest_unsent_seconds"] < 60
    assert found["balsam_database_bytes"] > 10_000
    assert time.time() - found["balsam_sweep_timestamp_seconds"] < 60
    assert not any(name in repr(found) for name in (hook.url, lab.site["name"]))


def test_no_scrape_waits_for_a_census(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    with PasswordServer(url) as server:
        other = Database(url)
        with other.write() as tx:
            tx.conn.execute(text("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE"))
            began = time.monotonic()
            found = scrape(server)
            assert time.monotonic() - began < WAIT_SEC + 1.0
            assert found["balsam_database_up"] == 1 and "balsam_jobs_waiting" not in found
        other.close()
        wait_until(lambda: "balsam_jobs_waiting" in scrape(server))


def test_workers_count_moves_together(tmp_path: Path, postgres: PostgresServer) -> None:
    with (
        DeployedServer(tmp_path / "server", postgres.new_database(), workers=2) as server,
        server.new_user().client as client,
    ):
        lab = Lab(client, hooks=[])
        session, jobs = lab.session(), lab.create(8)
        lab.acquire(session)
        for job in jobs:
            lab.move([job], "RUNNING", session)
        for _ in range(4):
            found = samples(asking.get(f"{server.url}/metrics").text)
            assert found["balsam_job_moves_total to_state=RUNNING"] == 8
            assert time.time() - found["balsam_sweep_timestamp_seconds"] < 60


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def _queries(dashboard: dict[str, Any]) -> list[str]:
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return queries + [one["definition"] for one in dashboard["templating"]["list"] if "definition" in one]


def test_the_dashboard_queries_what_there_is(server: PasswordServer, dashboard: dict[str, Any]) -> None:
    scrape(server)
    wait_until(lambda: "balsam_jobs_waiting" in scrape(server))
    answer = asking.get(f"{server.url}/metrics").text
    labels: dict[str, set[str]] = {}
    values: set[str] = set()
    for family in text_string_to_metric_families(answer):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
            values.update(sample.labels.values())
    queries = _queries(dashboard)
    assert {name for query in queries for name in METRIC.findall(query)} - labels.keys() == set()
    for name, selector in (found for query in queries for found in SELECTOR.findall(query)):
        for label, wanted in re.findall(r'(\w+)=~?"([^"]*)"', selector):
            if label != "job":  # which Prometheus adds
                assert label in labels[name] and set(wanted.split("|")) <= values, (name, label, wanted)
    for query in queries:
        for group in re.findall(r"\bby \(([^)]*)\)", query):
            [name, *_] = METRIC.findall(query)
            assert set(group.split(", ")) <= labels[name], query


def test_every_metric_of_ours_is_on_the_dashboard(server: PasswordServer, dashboard: dict[str, Any]) -> None:
    wait_until(lambda: "balsam_jobs_waiting" in scrape(server))
    answer = asking.get(f"{server.url}/metrics").text
    shown = set(METRIC.findall(" ".join(_queries(dashboard))))
    for family in text_string_to_metric_families(answer):
        names = {sample.name for sample in family.samples}
        assert names & shown or family.name.endswith("_created"), family.name


def test_the_dashboard_can_be_imported_anywhere(dashboard: dict[str, Any]) -> None:
    assert dashboard["id"] is None and dashboard["uid"] and dashboard["schemaVersion"] >= 39
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    names = {one["name"] for one in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard["panels"]))) - {"__rate_interval"}
    assert used == names == {"datasource", "job"}
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
