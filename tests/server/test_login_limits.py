"""How often anybody may fail to log in, or may register, and that waiting logins hold up nobody."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from balsam.core.errors import TooManyAttempts
from balsam.logic import attempts, passwords
from balsam.server.context import SLOW_AT_ONCE
from tests import asking
from tests.services import PasswordServer, User, elsewhere, new_address
from tests.waiting import wait_until


def log_in(url: str, name: str, password: str) -> httpx.Response:
    return asking.post(f"{url}/auth/password/login", data={"username": name, "password": password})


def fail_before(server: PasswordServer, name: str, times: int, address: str = "127.0.0.1") -> None:
    """As if so many logins of that name had just failed."""
    with server.server.db.write() as tx:
        for _ in range(times):
            attempts.count(tx, *attempts.of_password(name, address))


@pytest.fixture
def url(password_server: PasswordServer) -> str:
    return password_server.url


def test_too_many_failures_of_one_name_are_refused_for_a_while(
    url: str, new_user: Callable[[], User], password_server: PasswordServer
) -> None:
    victim, other = new_user(), new_user()
    fail_before(password_server, victim.name, attempts.OF_NAME.burst - 2)
    statuses = [log_in(url, victim.name, "wrong").status_code for _ in range(4)]
    assert statuses == [401, 401, 429, 429]
    refused = log_in(url, victim.name, victim.password)
    assert refused.status_code == 429, "the right password gets no more attempts than a wrong one"
    assert 0 < int(refused.headers["retry-after"]) <= attempts.OF_NAME.every_sec
    assert "too many failed logins as this user: try again in" in refused.json()["detail"]
    assert log_in(url, other.name, other.password).status_code == 200
    assert victim.client.get("/auth/password/me")["username"] == victim.name, "who is logged in stays so"


def test_failures_from_one_address_lock_nobody_out_elsewhere(
    url: str, user: User, password_server: PasswordServer
) -> None:
    right = {"username": user.name, "password": user.password}
    address = new_address()
    # Not by requests: the first failures are forgiven while the last ones wait for a busy machine.
    fail_before(password_server, user.name, attempts.OF_NAME.burst, address)
    with elsewhere(address) as attacker, elsewhere() as home:
        assert attacker.post(f"{url}/auth/password/login", data=right).status_code == 429
        assert home.post(f"{url}/auth/password/login", data=right).status_code == 200


def test_failures_from_many_addresses_are_limited_together(
    user: User, password_server: PasswordServer
) -> None:
    db = password_server.server.db
    with db.write() as tx:
        for number in range(attempts.OF_NAME_ANYWHERE.burst):
            attempts.count(tx, *attempts.of_password(user.name, f"10.0.0.{number}"))
    with pytest.raises(TooManyAttempts, match="as this user from many addresses"):
        fail_before(password_server, user.name, 1, "10.0.1.1")


def test_registrations_are_limited_by_address(url: str, user: User, password_server: PasswordServer) -> None:
    address = new_address()
    body = {"username": user.name, "password": "x"}
    with elsewhere(address) as http:
        taken = http.post(f"{url}/auth/password/register", json=body)
        with password_server.server.db.write() as tx:
            for _ in range(attempts.OF_REGISTRATIONS.burst - 1):
                attempts.count(tx, attempts.Attempt(attempts.OF_REGISTRATIONS, address))
        refused = http.post(f"{url}/auth/password/register", json=body)
    assert (taken.status_code, refused.status_code) == (400, 429)
    assert int(refused.headers["retry-after"]) > 0
    assert "registrations from your address" in refused.json()["detail"]


def test_how_many_may_register_from_one_address_is_a_setting(new_database: Callable[[], str]) -> None:
    with (
        PasswordServer(new_database(), registration_burst=2, registration_every_sec=600.0) as server,
        elsewhere(new_address()) as http,
    ):
        url = f"{server.url}/auth/password/register"
        answers = [http.post(url, json={"username": f"u{n}", "password": "x"}) for n in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]


def test_logins_that_wait_for_their_turn_hold_up_nobody_else(
    url: str, password_server: PasswordServer
) -> None:
    """More of them than the server has threads."""
    address = new_address()
    with ThreadPoolExecutor(60) as pool, elsewhere(address) as http:
        with passwords._turn, passwords._turn:
            waiting = [
                pool.submit(
                    http.post, f"{url}/auth/password/login", data={"username": f"w{n}", "password": "x"}
                )
                for n in range(60)
            ]
            wait_until(lambda: password_server.server.slow.statistics().tasks_waiting == 60 - SLOW_AT_ONCE)
            for _ in range(20):
                assert asking.get(f"{url}/auth/how", timeout=5).status_code == 200
            assert not any(one.done() for one in waiting)
            # So that those who have waited are refused without a slow hash.
            with contextlib.suppress(TooManyAttempts):
                for number in range(attempts.OF_ADDRESS.burst):
                    fail_before(password_server, f"x{number}", 1, address)
        assert {one.result().status_code for one in waiting} == {401, 429}


def test_a_name_that_nobody_has_is_limited_as_others_are(url: str, password_server: PasswordServer) -> None:
    name = "nobody has this name"
    fail_before(password_server, name, attempts.OF_NAME.burst - 1)
    assert [log_in(url, name, "x").status_code for _ in range(2)] == [401, 429]


def test_attempts_at_once_gain_nothing(
    url: str, new_user: Callable[[], User], password_server: PasswordServer
) -> None:
    name = new_user().name
    fail_before(password_server, name, attempts.OF_NAME.burst - 3)
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(log_in, url, name, "wrong") for _ in range(20)]
    statuses = [one.result().status_code for one in sent]
    assert sorted(statuses) == [401] * 3 + [429] * 17


def test_logins_that_succeed_are_not_counted(url: str, user: User, password_server: PasswordServer) -> None:
    fail_before(password_server, user.name, attempts.OF_NAME.burst - 1)
    assert {log_in(url, user.name, user.password).status_code for _ in range(3)} == {200}


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_what_counts_as_one_address(address: str, counts_as: str) -> None:
    assert attempts.network_of(address) == counts_as
