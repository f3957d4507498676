"""What operators look at: health, metrics, log lines, headers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import httpx
import orjson
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from starlette.types import Receive, Scope, Send

from balsam.client.errors import ServerFault, ServerRefused
from balsam.client.transport import Client
from balsam.server import daemon, logs
from balsam.server.exchange import Exchanges
from balsam.server.metrics import Metrics
from balsam.server.settings import ServerSettings
from balsam.store import migrate, slow, space
from balsam.store.database import Database
from tests import asking
from tests.server.lab import Lab
from tests.services import PasswordServer, User
from tests.waiting import wait_until


def samples(scraped: str) -> dict[str, float]:
    """Each sample of a scrape, its labels in its name."""
    return {
        sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(scraped)
        for sample in family.samples
    }


def scrape(server: PasswordServer) -> dict[str, float]:
    answer = asking.get(f"{server.url}/metrics")
    assert answer.status_code == 200, answer.text
    return samples(answer.text)


def test_health_needs_no_login(password_server: PasswordServer) -> None:
    assert asking.get(f"{password_server.url}/healthz").json() == {"status": "ok"}
    assert asking.get(f"{password_server.url}/readyz").json() == {"status": "ready"}


def test_a_full_disk_is_named_by_readyz_and_in_answers_until_there_is_room(tmp_path: Path) -> None:
    """Its remedy, too; SQLite's bound on pages stands for the end of the disk."""
    with PasswordServer(f"sqlite:///{tmp_path / 'db.sqlite'}") as server:
        user = server.new_user()
        lab = Lab(user.client, hooks=[])

        def limit(pages: int) -> None:
            with server.server.db.writers.connect() as conn:
                conn.execute(text(f"PRAGMA max_page_count = {pages}"))

        limit(1)  # as many as there are
        with Client(server.url, user.token, retry_sec=0) as hasty:
            job = {"app_id": lab.app["id"], "workdir": "w", "data": {"text": "x" * 200_000}}
            with pytest.raises(ServerFault, match="The disk of the server's database is full: those who run"):
                hasty.post("/jobs/", [job])
        ready = asking.get(f"{server.url}/readyz")
        assert (ready.status_code, ready.json()["reason"]) == (503, space.FULL)
        port = int(server.url.rpartition(":")[2])
        assert daemon.why_not_ready("127.0.0.1", port) == f"not ready: {space.FULL}"
        limit(1_000_000)
        assert asking.get(f"{server.url}/readyz").json() == {"status": "ready"}
        user.client.close()


def test_only_what_a_database_says_of_its_disk_is_told_as_such() -> None:
    full, other = psycopg.errors.DiskFull("no space left"), psycopg.errors.AdminShutdown("bye")
    assert space.trouble(OperationalError("", {}, full)) == space.FULL
    assert space.trouble(OperationalError("", {}, other)) is None


def test_metrics_tell_requests_by_template_and_jobs_by_state(
    password_server: PasswordServer, user: User
) -> None:
    lab = Lab(user.client, hooks=[])
    [job] = lab.create()
    lab.job(job)
    # What an earlier test has let count is used for a while.
    wait_until(lambda: scrape(password_server).get("balsam_jobs state=PREPROCESSED", 0) >= 1, timeout=60)
    found = scrape(password_server)
    assert found["balsam_request_seconds_count method=GET route=/jobs/{job_id} status=200"] >= 1
    assert found["balsam_jobs_waiting"] >= 1
    assert found["balsam_events_written_total"] >= 2
    assert found["balsam_database_up"] == 1
    assert found["balsam_database_connections_max"] > 1
    assert not any(user.name in name for name in found)


def test_metrics_tell_how_many_nodes_there_are_and_are_busy(new_database: Callable[[], str]) -> None:
    with PasswordServer(new_database()) as server, server.new_user().client as client:
        lab = Lab(client, hooks=[])
        [wide], [shared], _ = lab.create(num_nodes=2), lab.create(node_packing_count=4), lab.create()
        session = lab.session(num_nodes=4)
        lab.acquire(session)
        lab.move([wide, shared], "RUNNING", session)
        wait_until(lambda: "balsam_nodes_available" in scrape(server))
        found = scrape(server)
        assert found["balsam_nodes_available"] == 4
        assert found["balsam_nodes_busy"] == 2.25


def test_the_count_of_events_is_of_those_that_were_written(new_database: Callable[[], str]) -> None:
    """Ids are also given to what is rolled back, and the sequence may begin anywhere."""
    with PasswordServer(new_database()) as server, server.new_user().client as client:
        lab = Lab(client, hooks=[])
        lab.create()
        with pytest.raises(ServerRefused):
            lab.create(2, parent_ids=[10**9])
        events = client.get("/events/", {"limit": 1, "count": "yes"})["count"]
        assert scrape(server)["balsam_events_written_total"] == events


def test_the_count_of_events_is_never_behind(password_server: PasswordServer, user: User) -> None:
    """Another worker may have told a later one before."""
    lab = Lab(user.client, hooks=[])
    for _ in range(2):
        before = scrape(password_server)["balsam_events_written_total"]
        lab.create()
        # Sessions that other tests have left may run out meanwhile, with events of their own.
        assert scrape(password_server)["balsam_events_written_total"] >= before + 2


def test_an_open_stream_is_counted_until_it_ends(password_server: PasswordServer, user: User) -> None:
    before = scrape(password_server)["balsam_streams"]
    headers = {"authorization": f"Bearer {user.token}"}
    with httpx.stream("GET", f"{password_server.url}/stream", headers=headers) as answer:
        lines = answer.iter_lines()  # the answer is closed with its last reader
        assert next(lines) == "event: hello"
        assert scrape(password_server)["balsam_streams"] == before + 1
    wait_until(lambda: scrape(password_server)["balsam_streams"] == before)


def test_paths_that_nobody_knows_share_one_label(password_server: PasswordServer) -> None:
    for path in ("/made-up-1", "/made-up-2"):
        asking.get(password_server.url + path)
    assert not any("made-up" in name for name in scrape(password_server))


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_metrics_are_not_shown_through_a_proxy(password_server: PasswordServer, header: str) -> None:
    answer = asking.get(f"{password_server.url}/metrics", headers={header: "127.0.0.1"})
    assert answer.status_code == 403


def test_a_token_opens_the_metrics_from_anywhere(tmp_path: Path, new_database: Callable[[], str]) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("a long token\n")
    with PasswordServer(new_database(), metrics_token_file=token, metrics_from=()) as server:
        for sent, status in (("", 403), ("Bearer wrong", 403), ("Bearer a long token", 200)):
            answer = asking.get(f"{server.url}/metrics", headers={"authorization": sent})
            assert answer.status_code == status


def test_every_answer_has_safe_headers_and_an_id(password_server: PasswordServer) -> None:
    for path in ("/health", "/jobs/", "/nonsense", "/openapi.json", "/jobs"):
        headers = asking.get(password_server.url + path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert len(headers["x-request-id"]) == 16
        assert "strict-transport-security" not in headers
        assert "access-control-allow-origin" not in headers


def test_hsts_is_sent_where_it_is_configured(new_database: Callable[[], str]) -> None:
    with PasswordServer(new_database(), hsts_sec=3600) as server:
        assert asking.get(f"{server.url}/healthz").headers["strict-transport-security"] == "max-age=3600"


def test_a_plain_request_id_is_taken_over_and_another_is_not(password_server: PasswordServer) -> None:
    def answered(sent: str) -> str:
        return asking.get(f"{password_server.url}/healthz", headers={"x-request-id": sent}).headers[
            "x-request-id"
        ]

    assert answered("abc-123") == "abc-123"
    for forged in ("a b", "x" * 65, "<script>"):
        assert answered(forged) != forged


def test_what_nobody_foresaw_is_a_500_with_an_id_and_a_traceback_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError("unforeseen")

    settings = ServerSettings(f"sqlite:///{tmp_path / 'db'}")
    db = Database(settings.database_url)
    app = Exchanges(broken, settings, Metrics(db))

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            return await client.get("/jobs/", headers={"x-request-id": "mine"})

    answer = asyncio.run(ask())
    db.close()
    assert answer.status_code == 500 and answer.headers["x-request-id"] == "mine"
    assert "mine" in answer.json()["detail"] and "unforeseen" not in answer.text
    [record] = [one for one in caplog.records if one.exc_info]
    assert "GET '/jobs/' failed" in record.getMessage()


def test_the_client_tells_the_id_of_a_request_that_failed() -> None:
    def fail(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(503, json={"detail": "away"}, headers={"x-request-id": "3f2a"})

    with (
        Client("http://x", transport=httpx.MockTransport(fail), retry_sec=0) as client,
        pytest.raises(ServerFault, match=r"away.*\(request 3f2a\)") as caught,
    ):
        client.get("/jobs/")
    assert caught.value.request_id == "3f2a"


def test_slow_statements_are_logged_without_their_parameters(
    new_database: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    db = Database(new_database())
    migrate.upgrade(db)
    slow.log_slow(db, 0.0)
    with db.read() as conn:
        conn.execute(text("SELECT username FROM users WHERE username = :name"), {"name": "a-secret-name"})
    db.close()
    assert "SELECT username FROM users" in caplog.text
    assert "a-secret-name" not in caplog.text


def test_json_lines_hold_one_object_each(tmp_path: Path, restored_logging: None) -> None:
    logs.configure(ServerSettings("sqlite://", log_dir=tmp_path, log_format="json"))
    token = logs.request_id.set("abc")
    logging.getLogger("balsam.test").info("two\nlines", extra={"facts": {"seconds": 1.5}})
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("balsam.test").exception("failed")
    logs.request_id.reset(token)
    first, second = [orjson.loads(line) for line in (tmp_path / "server.log").read_text().splitlines()]
    assert (first["message"], first["request_id"], first["seconds"]) == ("two\nlines", "abc", 1.5)
    assert "ValueError: why" in second["exception"]


def test_the_log_goes_on_in_a_new_file_after_rotation(tmp_path: Path, restored_logging: None) -> None:
    logs.configure(ServerSettings("sqlite://", log_dir=tmp_path))
    logging.getLogger("balsam.test").warning("before")
    (tmp_path / "server.log").rename(tmp_path / "server.log.1")
    logging.getLogger("balsam.test").warning("after")
    assert "after" in (tmp_path / "server.log").read_text()
    assert "before" in (tmp_path / "server.log.1").read_text()


def test_the_access_log_has_a_line_for_each_request(
    new_database: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "balsam.access")
    with PasswordServer(new_database(), access_log=True) as server:
        asking.get(f"{server.url}/healthz?secret=1")
        wait_until(lambda: "'/healthz' 200" in caplog.text)
    assert "secret" not in caplog.text
