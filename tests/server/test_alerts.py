"""Alerts from the rule to the receiver: a real server, a real web server and a real mail server."""

from __future__ import annotations

import hashlib
import hmac
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from sqlalchemy import select, update

from balsam.client.errors import ServerFault, ServerRefused
from balsam.client.transport import Client
from balsam.core.clock import now_us
from balsam.server.alerting import fairly, retry_sec
from balsam.store import tables
from balsam.store.deliveries import Due
from tests.server.lab import Lab
from tests.server.receivers import MailServer, Webhook
from tests.services import EmbeddedServer, PasswordServer, PostgresServer, User, free_port
from tests.waiting import wait_until

HOUR_US = 3600 * 1_000_000
QUICK: dict[str, Any] = {
    "alert_sec": 0.2,
    "alert_retry_sec": 0.1,
    "alert_timeout_sec": 2.0,
    "alert_hosts": ("127.0.0.1",),
}


@pytest.fixture(scope="module")
def server(new_database: Callable[[], str]) -> Iterator[PasswordServer]:
    """One that many share, and which may post to loopback; it looks at rules all the time."""
    with PasswordServer(new_database(), **QUICK) as server:
        yield server


@pytest.fixture
def user(server: PasswordServer) -> Iterator[User]:
    user = server.new_user()
    yield user
    user.client.close()


@pytest.fixture
def lab(user: User) -> Lab:
    return Lab(user.client, hooks=[])


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with Webhook() as receiver:
        yield receiver


def add(client: Client, kind: str, address: str, **values: Any) -> dict[str, Any]:
    body = {"kind": kind, "channel": "webhook", "address": address, **values}
    made: dict[str, Any] = client.post("/alerts/rules", body)
    return made


def rule(client: Client, rule_id: int) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/alerts/rules/{rule_id}")
    return found


def fail(lab: Lab, count: int, **values: Any) -> None:
    session = lab.session()
    jobs = lab.create(count, **values)
    lab.acquire(session)
    lab.run(session, jobs, "RUN_ERROR")
    lab.client.delete(f"/sessions/{session}")


def unsent(server: PasswordServer, rule_id: int) -> list[Any]:
    table = tables.alert_deliveries
    with server.server.db.glance() as conn:
        stmt = select(table).where(table.c.rule_id == rule_id, table.c.ended.is_(None))
        return list(conn.execute(stmt.order_by(table.c.id)))


def lose_agent(server: PasswordServer, site_id: int, heard: int) -> None:
    """The site's agent was last heard of then, by a server that has been up for long."""
    server.server.up_since = 0
    with server.server.db.write() as tx:
        values = {"agent_seen": heard}
        tx.conn.execute(update(tables.sites).where(tables.sites.c.id == site_id).values(**values))


def test_failing_jobs_are_told_once(server: PasswordServer, user: User, lab: Lab, hook: Webhook) -> None:
    fail(lab, 3)
    made = add(user.client, "failure_rate", hook.url, min_jobs=3, secret="of the receiver")
    wait_until(lambda: hook.posted)
    [alert] = user.client.get("/alerts/")
    assert (alert["rule_id"], alert["kind"], alert["subject"]) == (made["id"], "failure_rate", 0)
    assert alert["sentence"].startswith("3 of the 3 jobs")
    looked_at = due_of(server, made["id"])
    wait_until(lambda: due_of(server, made["id"]) > looked_at + 600_000)  # several more looks
    assert hook.events() == ["began"]
    assert hook.posted[0].body["alerts"][0]["sentence"] == alert["sentence"]
    told = rule(user.client, made["id"])
    assert (told["firing"], told["error"], told["signed"]) == (1, None, True)
    assert told["sent_at"] is not None and "of the receiver" not in repr(told)


def due_of(server: PasswordServer, rule_id: int) -> int:
    table = tables.alert_rules
    with server.server.db.glance() as conn:
        return int(conn.execute(select(table.c.due).where(table.c.id == rule_id)).scalar_one())


def test_a_webhook_is_signed_with_the_users_secret(user: User, lab: Lab, hook: Webhook) -> None:
    made = add(user.client, "site_down", hook.url, secret="of the receiver")
    user.client.post(f"/alerts/rules/{made['id']}/test", None)
    wait_until(lambda: hook.posted)
    [posted] = hook.posted
    signed = posted.headers["balsam-timestamp"].encode() + b"." + posted.content
    known = hmac.new(b"of the receiver", signed, hashlib.sha256).hexdigest()
    assert posted.headers["balsam-signature"] == f"sha256={known}"
    assert posted.headers["content-type"] == "application/json"
    assert posted.body["event"] == posted.headers["balsam-event"] == "test"
    assert "of the receiver" not in repr(posted)


def test_a_site_that_goes_down_and_comes_back(
    server: PasswordServer, user: User, lab: Lab, hook: Webhook
) -> None:
    site = lab.site["id"]
    lose_agent(server, site, now_us() - HOUR_US)
    add(user.client, "site_down", hook.url, site_id=[site], minutes=30)
    wait_until(lambda: hook.events() == ["began"])
    assert f"agent of site {lab.site['name']}" in hook.posted[0].body["text"]
    assert "balsam site start" in hook.posted[0].body["text"]
    user.client.delete(f"/sites/{site}")  # the quickest end: else it must be well for minutes
    wait_until(lambda: hook.events() == ["began", "over"])
    assert user.client.get("/alerts/") == []


def test_a_receiver_that_fails_is_tried_until_it_takes_the_message(
    user: User, lab: Lab, hook: Webhook
) -> None:
    hook.statuses = [500, 302, 0, 429]
    fail(lab, 1)
    made = add(user.client, "failure_rate", hook.url, min_jobs=1)
    wait_until(lambda: len(hook.posted) == 5, timeout=60)
    wait_until(lambda: rule(user.client, made["id"])["sent_at"] is not None)
    assert {one.headers["balsam-delivery"] for one in hook.posted} == {
        hook.posted[0].headers["balsam-delivery"]
    }
    assert rule(user.client, made["id"])["error"] is None


def test_what_keeps_a_message_is_told_on_its_rule(
    server: PasswordServer, user: User, lab: Lab, hook: Webhook
) -> None:
    fail(lab, 1)
    port = free_port()
    made = add(user.client, "failure_rate", f"http://127.0.0.1:{port}/of-somebody", min_jobs=1)
    wait_until(lambda: rule(user.client, made["id"])["error"])
    error = rule(user.client, made["id"])["error"]
    assert "127.0.0.1 could not be reached" in error and "of-somebody" not in error
    [waits] = unsent(server, made["id"])
    assert waits.attempts >= 1
    # The user mends the address: what fires is told there.
    user.client.put(f"/alerts/rules/{made['id']}", {"address": hook.url, "threshold": 0.5})
    wait_until(lambda: hook.events() == ["began"])


def test_no_redirect_is_followed(user: User, lab: Lab, hook: Webhook) -> None:
    with Webhook([307] * 1000, headers={"location": hook.url}) as first:
        made = add(user.client, "site_down", first.url)
        user.client.post(f"/alerts/rules/{made['id']}/test", None)
        wait_until(lambda: rule(user.client, made["id"])["error"])
        assert "redirects are not followed" in rule(user.client, made["id"])["error"]
    assert hook.posted == []


def test_a_server_of_many_does_not_post_into_its_network(
    new_database: Callable[[], str], hook: Webhook
) -> None:
    with (
        PasswordServer(new_database(), **QUICK | {"alert_hosts": ()}) as server,
        server.new_user().client as me,
    ):
        Lab(me, hooks=[])
        with pytest.raises(ServerRefused, match="alert_hosts"):
            add(me, "site_down", hook.url)
        # A name shows where it leads only when it is looked up: at each delivery.
        made = add(me, "site_down", hook.url.replace("127.0.0.1", "localhost"))
        me.post(f"/alerts/rules/{made['id']}/test", None)
        wait_until(lambda: rule(me, made["id"])["error"])
        assert "leads inside a network" in rule(me, made["id"])["error"]
    assert hook.posted == []


def test_a_certificate_nobody_vouches_for_is_refused_and_one_of_the_operators_taken(
    tmp_path: Path, new_database: Callable[[], str]
) -> None:
    authority = trustme.CA()
    ca_file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(ca_file)
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(trust)
    hosts = {"alert_hosts": ("localhost",)}
    for settings, arrives in ((hosts, False), (hosts | {"alert_ca_file": ca_file}, True)):
        with (
            Webhook(trust=trust) as hook,
            PasswordServer(new_database(), **QUICK | settings) as server,
            server.new_user().client as me,
        ):
            made = add(me, "site_down", hook.url)
            sent = me.post(f"/alerts/rules/{made['id']}/test", None)
            wait_until(lambda: me.get(f"/alerts/deliveries/{sent['id']}")["ended"])  # noqa: B023
            error = me.get(f"/alerts/deliveries/{sent['id']}")["error"]
            assert (error is None) is arrives, error
            assert bool(hook.posted) is arrives
            assert arrives or "certificate" in error


@pytest.fixture
def mail_settings(tmp_path: Path) -> Iterator[tuple[dict[str, Any], ssl.SSLContext]]:
    """A server's settings for mail over STARTTLS, and what the mail server shows."""
    authority = trustme.CA()
    ca_file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(ca_file)
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(trust)
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text(MailServer.password + "\n")
    settings = {
        "mail_host": "localhost",
        "mail_user": MailServer.user,
        "mail_password_file": password,
        "mail_from": "balsam@example.org",
        "mail_domains": ("example.org",),
        "alert_ca_file": ca_file,
    }
    yield settings, trust


def test_mail_goes_encrypted_and_with_a_login(
    mail_settings: tuple[dict[str, Any], ssl.SSLContext],
    new_database: Callable[[], str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings, trust = mail_settings
    with MailServer(trust, ["451 later"]) as mail:
        chosen = QUICK | settings | {"mail_port": mail.port}
        with PasswordServer(new_database(), **chosen) as server, server.new_user().client as me:
            lab = Lab(me, hooks=[])
            me.put(f"/sites/{lab.site['id']}", {"name": "x\r\nBcc: eve@example.org\r\n\r\nhéllo"})
            lose_agent(server, lab.site["id"], now_us() - HOUR_US)
            made = add(me, "site_down", "ada@example.org", channel="mail", minutes=30)
            got = mail.taken.get(timeout=60)
            wait_until(lambda: rule(me, made["id"])["sent_at"])
    assert got.was_encrypted and got.sender == "balsam@example.org"
    assert got.recipients == [got.mail["To"]] == ["ada@example.org"]
    assert got.mail["Bcc"] is None and b"\nBcc" not in got.raw
    assert got.mail["Subject"].startswith("[Balsam] a site is down: The agent of site x Bcc: eve@example.org")
    assert "héllo" in got.mail.get_content() and f"balsam alert rm {made['id']}" in got.mail.get_content()
    assert MailServer.password not in caplog.text
    assert mail.taken.empty()


def test_mail_goes_in_the_clear_only_where_the_operator_says_so(new_database: Callable[[], str]) -> None:
    with MailServer(None) as mail:
        plain = {"mail_host": "localhost", "mail_port": mail.port, "mail_from": "balsam@example.org"}
        for settings, arrives in ((plain, False), (plain | {"mail_security": "none"}, True)):
            with PasswordServer(new_database(), **QUICK | settings) as server, server.new_user().client as me:
                made = add(me, "site_down", "ada@example.org", channel="mail")
                me.post(f"/alerts/rules/{made['id']}/test", None)
                wait_until(lambda: last_of(me, made["id"]) is not None)  # noqa: B023
                assert mail.taken.empty() is not arrives
                assert arrives or "could not be used" in rule(me, made["id"])["error"]


def last_of(client: Client, rule_id: int) -> str | None:
    """When a message of the rule last arrived or failed."""
    told = rule(client, rule_id)
    found: str | None = told["sent_at"] or told["error_at"]
    return found


def test_an_address_that_the_mail_server_refuses_is_given_up(
    mail_settings: tuple[dict[str, Any], ssl.SSLContext], new_database: Callable[[], str]
) -> None:
    settings, trust = mail_settings
    with MailServer(trust, ["550 nobody of that name"] * 9) as mail:
        chosen = QUICK | settings | {"mail_port": mail.port}
        with PasswordServer(new_database(), **chosen) as server, server.new_user().client as me:
            fail(Lab(me, hooks=[]), 1)
            made = add(me, "failure_rate", "nobody@example.org", channel="mail", min_jobs=1)
            wait_until(lambda: rule(me, made["id"])["error"])
            assert "refuses the address (550)" in rule(me, made["id"])["error"]
            wait_until(lambda: unsent(server, made["id"]) == [])
    assert len(mail.answers) == 8


def test_who_may_be_written_to(
    mail_settings: tuple[dict[str, Any], ssl.SSLContext], server: PasswordServer, user: User, tmp_path: Path
) -> None:
    with pytest.raises(ServerRefused, match="sends no mail"):
        add(user.client, "site_down", "ada@example.org", channel="mail")
    settings, _ = mail_settings
    url = f"sqlite:///{tmp_path / 'balsam.db'}"
    with PasswordServer(url, **settings) as other, other.new_user().client as me:
        for wrong in (
            "ada@example.com",
            "ada@example.org\nBcc: eve@example.org",
            "ada@example.org, eve@example.org",
            "Ada <ada@example.org>",
            "ada",
            '"a b"@example.org',
        ):
            with pytest.raises(ServerRefused):
                add(me, "site_down", wrong, channel="mail")
        add(me, "site_down", "ada@example.org", channel="mail")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"tags": {"a": "b"}}, "failure_rate rule only"),
        ({"threshold": 0.5}, "no threshold"),
        ({"site_id": [10**9]}, "No site with ID"),
        ({"minutes": 0.5}, "minutes"),
        ({"remind_hours": 0.01}, "remind_hours"),
        ({"address": "ftp://127.0.0.1/x"}, "https://"),
        ({"address": "http://me:secret@127.0.0.1/x"}, "user or password"),
        ({"address": "http://127.0.0.1/x y"}, "https://|spaces"),
        ({"address": "http://127.0.0.1:99999/"}, "no URL"),
        ({"channel": "mail", "address": "a@b.org", "secret": "x"}, "mail"),
    ],
)
def test_rules_that_can_not_be_meant_so_are_refused(
    user: User, lab: Lab, values: dict[str, Any], says: str
) -> None:
    body = {"kind": "site_down", "channel": "webhook", "address": "http://127.0.0.1:9/x", **values}
    with pytest.raises(ServerRefused, match=says):
        user.client.post("/alerts/rules", body)
    assert user.client.get("/alerts/rules") == []


def test_rules_and_tests_are_limited(user: User, hook: Webhook) -> None:
    hook.statuses = [0] * 100
    made = add(user.client, "site_down", hook.url)
    sent = user.client.post(f"/alerts/rules/{made['id']}/test", None)
    with pytest.raises(ServerRefused, match="on its way"):
        user.client.post(f"/alerts/rules/{made['id']}/test", None)
    assert sent["ended"] is None
    impatient = Client(user.client.api_root, user.token, retry_sec=0)
    for _ in range(49):
        add(user.client, "site_down", hook.url)
    with pytest.raises(ServerRefused, match="50 alert rules"):
        add(user.client, "site_down", hook.url)
    with impatient, pytest.raises(ServerFault, match="too many changes"):
        for _ in range(20):
            impatient.put(f"/alerts/rules/{made['id']}", {"minutes": 5})


def test_a_changed_rule_begins_anew(server: PasswordServer, user: User, lab: Lab, hook: Webhook) -> None:
    fail(lab, 2)
    made = add(user.client, "failure_rate", hook.url, min_jobs=1, secret="s")
    wait_until(lambda: hook.events() == ["began"])
    changed = user.client.put(f"/alerts/rules/{made['id']}", {"min_jobs": 3, "secret": None})
    assert (changed["min_jobs"], changed["signed"], changed["firing"]) == (3, False, 0)
    looked_at = due_of(server, made["id"])
    wait_until(lambda: due_of(server, made["id"]) > looked_at)
    assert hook.events() == ["began"]


def test_one_users_slow_receiver_holds_up_no_other(server: PasswordServer, user: User) -> None:
    with Webhook([0] * 1000) as slow, Webhook() as quick, server.new_user().client as other:
        for _ in range(20):
            made = add(user.client, "site_down", slow.url)
            user.client.post(f"/alerts/rules/{made['id']}/test", None) if _ < 9 else None
        made = add(other, "site_down", quick.url)
        other.post(f"/alerts/rules/{made['id']}/test", None)
        wait_until(lambda: quick.posted, timeout=8)  # the slow ones together would take 10 s and more


def test_of_several_processes_one_tells(postgres: PostgresServer, hook: Webhook) -> None:
    database = postgres.new_database()
    with (
        PasswordServer(database, **QUICK) as first,
        PasswordServer(database, **QUICK),
        PasswordServer(database, **QUICK),
        first.new_user().client as me,
    ):
        lab = Lab(me, hooks=[])
        fail(lab, 2)
        rules = [add(me, "failure_rate", hook.url, min_jobs=1)["id"] for _ in range(10)]
        wait_until(lambda: len(hook.posted) == 10)
        looked_at = max(due_of(first, number) for number in rules)
        wait_until(lambda: min(due_of(first, number) for number in rules) > looked_at + 600_000)
        assert sorted(one.body["rule"]["id"] for one in hook.posted) == rules


def test_a_server_killed_before_it_could_send_sends_afterwards(
    embedded: EmbeddedServer, hook: Webhook
) -> None:
    hook.statuses = [0]  # what it sends first hangs, and it is killed meanwhile
    with embedded.client() as me:
        lab = Lab(me, hooks=[])
        fail(lab, 1)
        made = add(me, "failure_rate", hook.url, min_jobs=1)
        wait_until(lambda: hook.posted)
        embedded.kill()
        embedded.start()
        wait_until(lambda: len(hook.posted) == 2)
        wait_until(lambda: rule(me, made["id"])["sent_at"])
    assert hook.events() == ["began", "began"]
    assert len({one.headers["balsam-delivery"] for one in hook.posted}) == 1


def test_a_server_without_rules_asks_its_database_for_nothing(new_database: Callable[[], str]) -> None:
    from sqlalchemy import event

    asked: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if "alert" in statement and threading.current_thread().name == "alerting":
            asked.append(statement)

    with PasswordServer(new_database(), **QUICK) as server, server.new_user().client as me:
        for engine in {server.server.db.readers, server.server.db.writers}:
            event.listen(engine, "before_cursor_execute", note)
        lab = Lab(me, hooks=[])
        for _ in range(20):
            lab.create()
        assert asked == []
        add(me, "site_down", "http://127.0.0.1:9/")
        wait_until(lambda: asked)


def test_pauses_grow_up_to_an_hour() -> None:
    assert [retry_sec(attempts, 30.0) for attempts in (1, 2, 3, 8, 500)] == [30, 60, 120, 3600, 3600]


def test_nobody_takes_all_the_places() -> None:
    due = [Due(number, owner) for number, owner in enumerate([1] * 9 + [2] * 9 + [3, 4, 5, 6, 7])]
    assert fairly(due) == [0, 1, 9, 10, 18, 19, 20, 21]
