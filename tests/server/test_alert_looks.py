"""What a rule of each kind sees of real sites, jobs and launchers, at times of the test's choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import select, update

from balsam.client.transport import Client
from balsam.core.alerts import News
from balsam.core.clock import now_us
from balsam.core.states import JobState
from balsam.logic import alert_looks
from balsam.logic import alert_rules as rules
from balsam.logic.alerts import MINUTE_US as MIN
from balsam.schemas.alerts import AlertRuleCreate
from balsam.store import alert_rules, deliveries, events, ids, symptoms, tables
from balsam.store.database import Database
from balsam.store.owner import Owner
from tests.server.lab import Lab
from tests.services import PasswordServer
from tests.waiting import wait_until

NOWHERE = "http://127.0.0.1:9/"
NEVER = 10**18


@pytest.fixture(scope="module")
def server(new_database: Callable[[], str]) -> Iterator[PasswordServer]:
    """One that looks at a rule that is changed, once, and has nothing to send to."""
    with PasswordServer(new_database(), alert_sec=86_400.0, alert_hosts=("127.0.0.1",)) as server:
        yield server


class Watch:
    """A rule that the test looks at, and not the server."""

    def __init__(self, server: PasswordServer, client: Client, kind: str, **values: Any) -> None:
        self.db = server.server.db
        self.owner = Owner(client.get("/auth/password/me")["id"])
        body = {"kind": kind, "channel": "webhook", "address": NOWHERE, **values}
        with self.db.write() as tx:
            self.id = int(rules.create(tx, self.owner, AlertRuleCreate.model_validate(body))["id"])
            alert_rules.change(tx.conn, self.owner, self.id, {"due": NEVER})

    def row(self) -> dict[str, Any]:
        with self.db.glance() as conn:
            row = alert_rules.get(conn, self.owner, self.id)
        assert row is not None
        return row

    def look(self, now: int, up_since: int = 0) -> list[str]:
        """What is told: `began 3` and the like."""
        decision = alert_looks.settle(self.db, self.row(), up_since, now)
        return [f"{one.event} {alert.subject}" for one in decision.messages for alert in one.alerts]

    def outbox(self) -> list[str]:
        table = tables.alert_deliveries
        with self.db.glance() as conn:
            stmt = select(table.c.event).where(table.c.rule_id == self.id).order_by(table.c.id)
            return list(conn.execute(stmt).scalars())


@pytest.fixture
def lab(server: PasswordServer) -> Iterator[Lab]:
    with server.new_user().client as client:
        yield Lab(client, hooks=[])


def test_a_failure_rate_of_chosen_jobs(server: PasswordServer, lab: Lab) -> None:
    other = Lab(lab.client, hooks=[])
    for where, tags, end in ((lab, "a", "RUN_ERROR"), (lab, "b", "RUN_DONE"), (other, "b", "RUN_DONE")):
        session = where.session()
        jobs = where.create(3, tags={"lane": tags})
        where.acquire(session)
        where.run(session, jobs, end)
    now, chosen = now_us(), {"min_jobs": 3, "threshold": 0.4}
    expected: list[tuple[dict[str, Any], list[str]]] = [
        ({}, []),
        ({"site_id": [lab.site["id"]]}, ["began 0"]),
        ({"tags": {"lane": "a"}}, ["began 0"]),
        ({"tags": {"lane": "b"}}, []),
        ({"tags": {"lane": "a"}, "site_id": [other.site["id"]]}, []),
    ]
    for values, told in expected:
        watch = Watch(server, lab.client, "failure_rate", **chosen, **values)
        assert watch.look(now_us()) == told, values
    # An hour later nothing has ended within the hour: when that has lasted, it is over.
    watch = Watch(server, lab.client, "failure_rate", **chosen, tags={"lane": "a"})
    assert watch.look(now_us()) == ["began 0"]
    assert watch.look(now + 61 * MIN) == []
    assert watch.look(now + 67 * MIN) == ["over 0"]
    assert watch.outbox() == ["began", "over"]


def test_a_backlog_is_stalled_when_jobs_wait_and_none_starts(server: PasswordServer, lab: Lab) -> None:
    site = lab.site["id"]
    watch = Watch(server, lab.client, "stalled_backlog", minutes=30)
    now = now_us()
    assert watch.look(now) == watch.look(now + 40 * MIN) == []  # nothing waits
    jobs = lab.create(3)
    assert watch.look(now + 41 * MIN) == watch.look(now + 70 * MIN) == []
    assert watch.look(now + 71 * MIN) == [f"began {site}"]
    [alert] = lab.client.get("/alerts/")
    assert "no BatchJob is queued or running" in alert["sentence"]
    session = lab.session()
    lab.acquire(session, 1)
    lab.run(session, jobs[:1])
    with server.server.db.write() as tx:  # it started just before the next look
        chosen = tables.runs.c.job_id == jobs[0]
        tx.conn.execute(update(tables.runs).where(chosen).values(start=now + 71 * MIN))
    assert watch.look(now + 72 * MIN) == []
    assert watch.look(now + 78 * MIN) == [f"over {site}"]


def test_a_server_that_was_away_lets_nothing_look_stalled(server: PasswordServer, lab: Lab) -> None:
    lab.create()
    watch = Watch(server, lab.client, "stalled_backlog", minutes=30)
    now = now_us()
    assert watch.look(now) == []
    assert watch.look(now + 600 * MIN, up_since=now + 599 * MIN) == []
    assert watch.look(now + 630 * MIN, up_since=now + 599 * MIN) == [f"began {lab.site['id']}"]


def test_an_allocation_is_idle_when_runs_keep_few_of_its_nodes_busy(server: PasswordServer, lab: Lab) -> None:
    batch_job = lab.batch_job(num_nodes=4)["id"]
    session = lab.session(batch_job_id=batch_job, num_nodes=4)
    watch = Watch(server, lab.client, "idle_allocation", minutes=10, threshold=0.5)
    now = now_us()
    assert watch.look(now) == watch.look(now + 9 * MIN) == []
    assert watch.look(now + 11 * MIN) == [f"began {batch_job}"]
    jobs = lab.create(3)
    lab.acquire(session)
    lab.move(jobs, "RUNNING", session)
    assert watch.look(now + 12 * MIN) == []
    assert watch.look(now + 18 * MIN) == [f"over {batch_job}"]
    lab.move(jobs, "RUN_DONE", session)
    assert watch.look(now + 20 * MIN) == []
    assert watch.look(now + 31 * MIN) == [f"began {batch_job}"]
    lab.client.delete(f"/sessions/{session}")
    assert watch.look(now + 32 * MIN) == [f"over {batch_job}"]
    assert watch.outbox() == ["began", "over"] * 2


def test_a_site_is_down_when_its_agent_is_silent(server: PasswordServer, lab: Lab) -> None:
    site = lab.site["id"]
    never = Lab(lab.client, hooks=[])
    session = lab.session(num_nodes=0)
    watch = Watch(server, lab.client, "site_down", minutes=10)
    now = now_us()
    assert watch.look(now + 9 * MIN) == []
    assert watch.look(now + 11 * MIN) == [f"began {site}"]
    assert watch.look(now + 12 * MIN) == []
    lab.client.put(f"/sessions/{session}", {})
    with server.server.db.write() as tx:  # it is heard of again, by the test's clock
        chosen = tables.sessions.c.id == session
        tx.conn.execute(update(tables.sessions).where(chosen).values(heartbeat=now + 12 * MIN))
    assert watch.look(now + 13 * MIN) == []
    assert watch.look(now + 19 * MIN) == [f"over {site}"]
    assert never.site["id"] != site
    elsewhere = Watch(server, lab.client, "site_down", minutes=10, site_id=[never.site["id"]])
    assert elsewhere.look(now + 60 * MIN) == []


def test_reminders_wait_for_what_they_remind_of(server: PasswordServer, lab: Lab) -> None:
    lab.session(num_nodes=0)
    watch = Watch(server, lab.client, "site_down", minutes=10, remind_hours=1)
    now = now_us()
    assert watch.look(now + 11 * MIN) == [f"began {lab.site['id']}"]
    watch.look(now + 80 * MIN)
    assert watch.outbox() == ["began"]  # which nobody takes
    with watch.db.write() as tx:
        chosen = tables.alert_deliveries.c.rule_id == watch.id
        tx.conn.execute(update(tables.alert_deliveries).where(chosen).values(ended=now))
    watch.look(now + 145 * MIN)
    assert watch.outbox() == ["began", "reminder"]


def test_a_rule_that_changes_while_it_is_looked_at_is_looked_at_again(
    server: PasswordServer, lab: Lab
) -> None:
    lab.session(num_nodes=0)
    watch = Watch(server, lab.client, "site_down", minutes=10)
    before = watch.row()
    lab.client.put(f"/alerts/rules/{watch.id}", {"minutes": 600})
    wait_until(lambda: watch.row()["due"] > now_us())
    alert_looks.settle(watch.db, before, 0, now_us() + 60 * MIN)
    assert watch.outbox() == [] and lab.client.get("/alerts/") == []
    before = watch.row()
    lab.client.delete(f"/alerts/rules/{watch.id}")
    alert_looks.settle(watch.db, before, 0, now_us() + 700 * MIN)


def test_two_who_claim_get_different_rules(server: PasswordServer, lab: Lab) -> None:
    watches = [Watch(server, lab.client, "site_down") for _ in range(3)]
    db, due = server.server.db, now_us() + 3600 * 1_000_000
    with db.write() as tx:
        chosen = tables.alert_rules.c.id.in_([one.id for one in watches])
        tx.conn.execute(update(tables.alert_rules).where(chosen).values(due=1))
        first = alert_rules.claim(tx.conn, 2, due, 2)
        second = alert_rules.claim(tx.conn, 2, due, 2)
    claimed = [row["id"] for row in (*first, *second)]
    assert sorted(claimed) == [one.id for one in watches] and len(first) == 2


def test_messages_of_a_rule_keep_their_order_and_tests_pass_by(server: PasswordServer, lab: Lab) -> None:
    watch, now = Watch(server, lab.client, "site_down"), now_us()
    db, far = server.server.db, NEVER  # when the server itself does not find them
    with db.write() as tx:
        began, over, test = (
            deliveries.add(tx.conn, watch.owner, watch.id, event, {}, far)
            for event in (News.began, News.over, News.test)
        )
        assert due(tx, watch, far) == [began, test]
        assert [row["id"] for row in deliveries.claim(tx.conn, [began, test], far, far + 5)] == [began, test]
        assert deliveries.claim(tx.conn, [began], far, far + 5) == [] and due(tx, watch, far) == []
        assert due(tx, watch, far + 5) == [began, test]  # whoever claimed them was killed
        deliveries.postpone(tx.conn, began, far + 9, "no")
        assert due(tx, watch, far + 8) == [test]
        deliveries.end(tx.conn, began, now, None)
        assert due(tx, watch, far) == [over]


def due(tx: Any, watch: Watch, now: int) -> list[int]:
    return [one.id for one in deliveries.due(tx.conn, now, 1_000) if one.owner_id == watch.owner.user_id]


def test_a_rate_of_very_many_jobs_is_that_of_the_newest(server: PasswordServer, lab: Lab) -> None:
    [job] = lab.create()
    owner, now = Owner(lab.client.get("/auth/password/me")["id"]), now_us()
    number = symptoms.LOOK_BACK + 5_000
    newest = symptoms.LOOK_BACK // 2
    _add_ends(server.server.db, owner, lab.site["id"], job, JobState.job_finished, now, number)
    _add_ends(server.server.db, owner, lab.site["id"], job, JobState.failed, now, newest, every=4)
    with server.server.db.read() as conn:
        found = symptoms.ended(conn, owner, now - 10**9, None, {})
    assert found.finished == symptoms.LOOK_BACK - 1  # those since the oldest of the newest
    assert abs(found.failed - found.finished / 4) < 3
    assert found.since == now - (symptoms.LOOK_BACK - 1) * 10


def _add_ends(
    db: Database, owner: Owner, site: int, job: int, state: JobState, now: int, number: int, every: int = 1
) -> None:
    """Ends in a state, one each 10 us times `every`, back from now."""
    with db.write() as tx:
        rows: list[tuple[Any, ...]] = [
            (owner.user_id, site, job, None, now - place * 10 * every, now, now, "RUN_DONE", state, {})
            for place in range(number)
        ]
        events.insert_many(tx.conn, rows, ids.allocate(tx.conn, tables.events, number))


def test_a_site_stays_down_over_a_restart_of_the_server(server: PasswordServer, lab: Lab) -> None:
    lab.session(num_nodes=0)
    watch = Watch(server, lab.client, "site_down", minutes=10)
    now = now_us()
    assert watch.look(now + 11 * MIN, up_since=now + 10 * MIN) == []
    assert watch.look(now + 20 * MIN, up_since=now + 10 * MIN) == [f"began {lab.site['id']}"]
    for minutes in (31, 38):
        assert watch.look(now + minutes * MIN, up_since=now + 30 * MIN) == []
