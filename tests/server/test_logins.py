"""Logins by password and by refresh token: what they answer, how long they last, how they end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from balsam.client.transport import Client
from balsam.core.clock import now_us
from balsam.core.limits import REFRESH_GRACE_SEC
from balsam.logic import attempts, logins, passwords
from balsam.logic.logins import Lifetimes, Tokens
from balsam.logic.users import digest_of
from balsam.server.tokens import KEEP_SEC
from balsam.store import login_attempts
from balsam.store import logins as login_store
from balsam.store import users as user_store
from balsam.store.database import Database
from balsam.store.notices import Change
from balsam.store.owner import Owner
from tests import asking
from tests.server.test_login_limits import fail_before
from tests.services import PasswordServer, PostgresServer, User
from tests.waiting import wait_until


@pytest.fixture
def url(password_server: PasswordServer) -> str:
    return password_server.url


def log_in(url: str, user: User, **more: str) -> httpx.Response:
    form = {"username": user.name, "password": user.password, **more}
    return asking.post(f"{url}/auth/password/login", data=form)


def renewable(url: str, user: User) -> dict[str, Any]:
    return dict(log_in(url, user, scope="offline_access").raise_for_status().json())


def begun(server: PasswordServer, user: User) -> Tokens:
    """A renewable login, as `renewable` makes them, without its slow hash."""
    with server.server.db.write() as tx:
        row = user_store.by_name(tx.conn, user.name)
        assert row is not None
        return logins.begin(tx, Owner(row["id"]), "password", Lifetimes(), renewable=True)


def refresh(url: str, token: str) -> httpx.Response:
    return asking.post(f"{url}/auth/refresh", data={"refresh_token": token})


def opens(url: str, token: str) -> bool:
    answer = asking.get(f"{url}/auth/password/me", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code in (200, 401)
    return answer.status_code == 200


def remaining(answer: dict[str, Any]) -> timedelta:
    return datetime.fromisoformat(answer["expiration"]).replace(tzinfo=UTC) - datetime.now(UTC)


def make_older(server: PasswordServer, refresh_token: str, seconds: float) -> None:
    """As if the token had been used that much earlier."""
    with server.server.db.write() as tx:
        statement = text("UPDATE refresh_tokens SET used = used - :us WHERE token_hash = :digest")
        tx.conn.execute(statement, {"us": int(seconds * 1e6), "digest": digest_of(refresh_token)})


def test_a_published_login_gets_one_token_for_48_hours(url: str, user: User) -> None:
    answer = log_in(url, user).json()
    assert set(answer) == {"access_token", "token_type", "expiration"} and answer["token_type"] == "bearer"
    assert timedelta(hours=47.9) < remaining(answer) <= timedelta(hours=48)
    assert datetime.fromisoformat(answer["expiration"]).tzinfo is None


def test_a_renewable_login_gets_a_short_token_and_a_refresh_token(url: str, user: User) -> None:
    answer = renewable(url, user)
    assert timedelta(minutes=14) < remaining(answer) <= timedelta(minutes=15)
    assert 840 < answer["expires_in"] <= 900
    second = refresh(url, answer["refresh_token"]).json()
    assert second["access_token"] != answer["access_token"]
    assert second["refresh_token"] != answer["refresh_token"]
    assert opens(url, second["access_token"]) and opens(url, answer["access_token"])
    assert not opens(url, second["refresh_token"]), "a refresh token is no access token"


def test_how_to_log_in_is_answered_as_published(url: str) -> None:
    assert asking.get(f"{url}/auth/how").json() == ["LoginMethod.password"]


def test_a_refresh_token_serves_again_for_a_minute(
    url: str, user: User, password_server: PasswordServer
) -> None:
    first = begun(password_server, user).refresh
    assert first is not None
    second = refresh(url, first).json()["refresh_token"]
    make_older(password_server, first, REFRESH_GRACE_SEC - 20)
    again = refresh(url, first)
    assert again.status_code == 200
    assert opens(url, again.json()["access_token"])
    assert refresh(url, second).status_code == 200 == refresh(url, again.json()["refresh_token"]).status_code


def test_a_refresh_token_that_comes_back_later_ends_the_login_and_says_why(
    url: str, user: User, password_server: PasswordServer
) -> None:
    first, other = begun(password_server, user), begun(password_server, user)
    assert first.refresh is not None
    second = refresh(url, first.refresh).json()
    make_older(password_server, first.refresh, REFRESH_GRACE_SEC + 1)
    for token in (first.refresh, second["refresh_token"]):
        refused = refresh(url, token)
        assert refused.status_code == 401
        assert "somebody uses a copy of the login file" in refused.json()["detail"]
    assert not opens(url, first.access) and not opens(url, second["access_token"])
    assert opens(url, other.access), "the user's other logins go on"


def test_refreshes_that_cross_are_all_answered(url: str, user: User, password_server: PasswordServer) -> None:
    token = begun(password_server, user).refresh
    assert token is not None
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: refresh(url, token), range(16)))
    assert {answer.status_code for answer in answers} == {200}
    assert all(opens(url, answer.json()["access_token"]) for answer in answers)


@pytest.mark.parametrize("token", ["", "nonsense", "br_" + "x" * 43])
def test_a_text_that_is_no_refresh_token_renews_nothing(url: str, token: str) -> None:
    assert refresh(url, token).status_code in (401, 422)


def test_an_access_token_renews_nothing(url: str, user: User, password_server: PasswordServer) -> None:
    assert refresh(url, begun(password_server, user).access).status_code == 401


def test_a_login_that_nobody_uses_runs_out(user: User, password_server: PasswordServer) -> None:
    db = password_server.server.db
    tokens = logins.log_in(
        db, user.name, user.password, "10.0.0.1", Lifetimes(short_token=60, login=-1), renewable=True
    )
    assert tokens.refresh is not None
    assert (
        refresh(password_server.url, tokens.refresh).json()["detail"]
        == "this login was not used for too long"
    )


def test_logging_out_ends_one_login_with_all_its_tokens(url: str, user: User) -> None:
    first, second = renewable(url, user), renewable(url, user)
    newer = refresh(url, first["refresh_token"]).json()
    headers = {"authorization": f"Bearer {newer['access_token']}"}
    assert asking.delete(f"{url}/auth/logins/current", headers=headers).status_code == 204
    assert not opens(url, first["access_token"]) and not opens(url, newer["access_token"])
    assert "ended by its user" in refresh(url, newer["refresh_token"]).json()["detail"]
    assert opens(url, second["access_token"])


def test_logins_are_listed_and_ended_by_their_user_only(url: str, new_user: Callable[[], User]) -> None:
    mine, stranger = new_user(), new_user()
    extra = renewable(url, mine)
    listed = mine.client.get("/auth/logins")
    assert [one["current"] for one in listed] == [True, False]
    assert {one["method"] for one in listed} == {"password"}
    assert not any("token" in name for one in listed for name in one)
    path = f"{url}/auth/logins/{listed[1]['id']}"
    refused = asking.delete(path, headers={"authorization": f"Bearer {stranger.token}"})
    assert refused.status_code == 404 and opens(url, extra["access_token"])
    mine.client.delete(f"/auth/logins/{listed[1]['id']}")
    assert not opens(url, extra["access_token"])
    assert len(mine.client.get("/auth/logins")) == 1


@pytest.fixture
def short_lived(new_database: Callable[[], str]) -> Iterator[PasswordServer]:
    with PasswordServer(new_database(), token_ttl_sec=0.5) as server:
        yield server


def test_the_life_of_tokens_is_the_operators(short_lived: PasswordServer) -> None:
    user = short_lived.new_user()
    assert remaining(log_in(short_lived.url, user).json()) <= timedelta(seconds=0.5)


@pytest.fixture
def closed(new_database: Callable[[], str]) -> Iterator[PasswordServer]:
    with PasswordServer(new_database(), registration=False) as server:
        yield server


def test_where_nobody_registers_the_sentence_says_what_to_do(closed: PasswordServer) -> None:
    body = {"username": "ada", "password": "a good password"}
    refused = asking.post(f"{closed.url}/auth/password/register", json=body)
    assert refused.status_code == 403 and "run `balsam login`" in refused.json()["detail"]


@pytest.mark.parametrize("text_", ["a\x00b", "x" * 100_000, "\ufffe", " "])
@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("password/login", ("username", "password", "scope")),
        ("refresh", ("refresh_token",)),
        ("device/token", ("device_code",)),
    ],
)
def test_odd_texts_at_the_doors_are_refused(url: str, path: str, names: tuple[str, ...], text_: str) -> None:
    answer = asking.post(f"{url}/auth/{path}", data=dict.fromkeys(names, text_))
    assert 400 <= answer.status_code < 500


def test_a_wrong_password_takes_as_long_where_there_is_none() -> None:
    stored = passwords.hash_of("right")
    assert passwords.is_right(stored, "right")

    def seconds(of: str | None) -> float:
        begin = time.process_time()
        assert not passwords.is_right(of, "wrong")
        return time.process_time() - begin

    with_one, with_none = (min(seconds(of) for _ in range(3)) for of in (stored, None))
    assert 0.5 < with_one / with_none < 2


def test_what_has_run_out_is_forgotten(user: User, password_server: PasswordServer) -> None:
    db = password_server.server.db
    fleeting = Lifetimes(token=-1, short_token=-1, login=-1)
    tokens = logins.log_in(db, user.name, user.password, "10.0.0.2", fleeting, renewable=True)
    assert tokens.refresh is not None
    digest = digest_of(tokens.refresh)
    with db.write() as tx:
        assert login_store.find_refresh_token(tx.conn, digest) is not None
        login_store.drop_expired(tx.conn, now_us())
        login_attempts.drop_empty(tx.conn, now_us() + 3600 * 1_000_000)
        assert login_store.find_refresh_token(tx.conn, digest) is None
        assert tx.conn.execute(text("SELECT count(*) FROM login_attempts")).scalar_one() == 0
    assert opens(password_server.url, user.token)


def test_server_processes_share_logins_and_limits(postgres: PostgresServer) -> None:
    database = postgres.new_database()
    with PasswordServer(database) as first, PasswordServer(database) as second:
        user = first.new_user()
        refresh_token = renewable(first.url, user)["refresh_token"]
        newer = refresh(second.url, refresh_token).raise_for_status().json()
        assert opens(first.url, newer["access_token"])
        wrong = {"username": user.name, "password": "wrong"}
        fail_before(first, user.name, attempts.OF_NAME.burst - 3)
        statuses = [
            asking.post(f"{url}/auth/password/login", data=wrong).status_code
            for url in [second.url, first.url, second.url, first.url, second.url]
        ]
        assert statuses == [401] * 3 + [429] * 2
        user.client.close()


def test_a_token_opens_nothing_once_its_login_was_ended(
    url: str, user: User, password_server: PasswordServer
) -> None:
    for _ in range(20):
        token = begun(password_server, user).access
        assert opens(url, token)
        with Client(url, token) as client:
            client.delete("/auth/logins/current")
        assert not opens(url, token)


def test_a_site_token_opens_nothing_once_it_was_revoked_or_its_site_removed(url: str, user: User) -> None:
    for number in range(10):
        site = user.client.post("/sites/", {"name": f"site{number}", "path": "/"})["id"]
        made = user.client.post("/auth/site-tokens", {"site_id": site})
        assert opens(url, made["token"])
        user.client.delete(f"/sites/{site}" if number % 2 else f"/auth/site-tokens/{made['id']}")
        assert not opens(url, made["token"])


def test_the_process_that_revokes_a_token_does_not_wait_for_the_notice(
    new_database: Callable[[], str],
) -> None:
    db = Database(new_database())
    heard: list[frozenset[Change]] = []
    db.on_commit = heard.append
    with db.write() as tx:
        tx.changed(1, "tokens", 0)
    db.close()
    assert heard == [{Change(1, "tokens", 0)}]


def test_all_server_processes_hear_of_a_login_that_was_ended(postgres: PostgresServer) -> None:
    database = postgres.new_database()
    with PasswordServer(database) as first, PasswordServer(database) as second:
        user = first.new_user()
        token = log_in(second.url, user).json()["access_token"]
        assert opens(first.url, token) and opens(second.url, token)
        with Client(first.url, token) as client:
            client.delete("/auth/logins/current")
        assert not opens(first.url, token)
        wait_until(lambda: not opens(second.url, token), timeout=KEEP_SEC / 2)
        user.client.close()
