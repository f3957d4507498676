"""Logins by device code and browser, up to the provider's door: what programs hear, and who may answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from balsam.core.errors import Invalid
from balsam.logic import attempts, login_requests
from balsam.logic.login_requests import Identity, Trip
from balsam.store.database import Database
from tests import asking
from tests.services import PasswordServer

ADA = Identity("https://login.example", "subject-1", "ada")


@pytest.fixture(scope="module")
def server(new_database: Callable[[], str]) -> Iterator[PasswordServer]:
    """A server with a login provider that nobody asks in these tests."""
    settings = {"oauth_issuer": ADA.issuer, "oauth_client_id": "balsam", "oauth_name": "institute"}
    with PasswordServer(new_database(), **settings) as server:
        yield server


@pytest.fixture
def db(server: PasswordServer) -> Database:
    return server.server.db


def begin(server: PasswordServer, **form: str) -> dict[str, Any]:
    answer = asking.post(f"{server.url}/auth/device/login", data={"client_id": "any", **form})
    return dict(answer.raise_for_status().json())


def collect(server: PasswordServer, device_code: str) -> httpx.Response:
    grant = "urn:ietf:params:oauth:grant-type:device_code"
    form = {"grant_type": grant, "device_code": device_code, "client_id": "any"}
    return asking.post(f"{server.url}/auth/device/token", data=form)


def come_back(db: Database, user_code: str, identity: Identity = ADA) -> tuple[Trip, str]:
    """A browser was at the provider and is asked: its trip and the consent that it may give."""
    trip = login_requests.depart(db, user_code, None, "")
    question = login_requests.ask(db, login_requests.check_return(db, trip), trip, identity)
    return trip, question.consent


def test_the_three_ways_are_offered_as_published(server: PasswordServer) -> None:
    offered = ["LoginMethod.password", "LoginMethod.oauth_device", "LoginMethod.oauth_authcode"]
    assert asking.get(f"{server.url}/auth/how").json() == offered


def test_a_device_login_begins_as_published(server: PasswordServer) -> None:
    begun = begin(server)
    page = f"{server.url}/auth/oauth/institute/login/device"
    assert begun["verification_uri"] == page
    assert begun["verification_uri_complete"] == f"{page}?user_code={begun['user_code']}"
    assert (begun["expires_in"], begun["interval"]) == (300.0, 3.0)
    assert len(begun["user_code"]) == 9 and begun["user_code"][4] == "-"


def test_not_yet_is_said_as_published_and_slows_down_who_asks_all_the_time(server: PasswordServer) -> None:
    code = begin(server)["device_code"]
    start = time.monotonic()
    for _ in range(2):
        answer = collect(server, code)
        assert (answer.status_code, answer.json()) == (400, {"detail": "authorization_pending"})
    assert time.monotonic() - start > 1.9


def test_an_allowed_program_gets_its_token_once(server: PasswordServer, db: Database) -> None:
    begun = begin(server)
    trip, consent = come_back(db, begun["user_code"].lower().replace("-", " "))
    assert collect(server, begun["device_code"]).json() == {"detail": "authorization_pending"}
    login_requests.answer(db, consent, trip.browser, allowed=True)
    answer = collect(server, begun["device_code"]).raise_for_status().json()
    assert set(answer) == {"access_token", "token_type", "expiration"}
    headers = {"authorization": f"Bearer {answer['access_token']}"}
    assert asking.get(f"{server.url}/auth/password/me", headers=headers).json()["username"] == "ada"
    assert [one["method"] for one in asking.get(f"{server.url}/auth/logins", headers=headers).json()] == [
        "device"
    ]
    assert collect(server, begun["device_code"]).json() == {"detail": "invalid_grant"}


def test_a_renewable_device_login_gets_a_refresh_token(server: PasswordServer, db: Database) -> None:
    begun = begin(server, scope="openid offline_access")
    trip, consent = come_back(db, begun["user_code"])
    login_requests.answer(db, consent, trip.browser, allowed=True)
    answer = collect(server, begun["device_code"]).json()
    form = {"refresh_token": answer["refresh_token"]}
    assert asking.post(f"{server.url}/auth/refresh", data=form).status_code == 200


def test_a_refused_program_hears_so(server: PasswordServer, db: Database) -> None:
    begun = begin(server)
    trip, consent = come_back(db, begun["user_code"])
    login_requests.answer(db, consent, trip.browser, allowed=False)
    assert collect(server, begun["device_code"]).json() == {"detail": "access_denied"}
    with pytest.raises(Invalid, match="invalid_client"):
        login_requests.depart(db, begun["user_code"], None, "")


def test_a_program_that_waited_too_long_hears_so(server: PasswordServer, db: Database) -> None:
    begun = begin(server)
    trip = login_requests.depart(db, begun["user_code"], None, "")
    with db.write() as tx:
        tx.conn.execute(text("UPDATE login_requests SET expires = created"))
    assert collect(server, begun["device_code"]).json() == {"detail": "expired_token"}
    with pytest.raises(Invalid, match="invalid_state"):
        login_requests.check_return(db, trip)
    with pytest.raises(Invalid, match="invalid_client"):
        login_requests.depart(db, begun["user_code"], None, "")


def test_only_the_browser_that_left_may_come_back(server: PasswordServer, db: Database) -> None:
    trip = login_requests.depart(db, begin(server)["user_code"], None, "")
    for other in (
        Trip(trip.state, "x" * 43),
        Trip(trip.state, ""),
        Trip("x" * 43, trip.browser),
        Trip("", ""),
    ):
        with pytest.raises(Invalid, match="invalid_state"):
            login_requests.check_return(db, other)
    assert login_requests.check_return(db, trip) > 0


def test_a_state_serves_once(server: PasswordServer, db: Database) -> None:
    trip = login_requests.depart(db, begin(server)["user_code"], None, "")
    request_id = login_requests.check_return(db, trip)
    login_requests.ask(db, request_id, trip, ADA)
    with pytest.raises(Invalid, match="invalid_state"):
        login_requests.check_return(db, trip)
    with pytest.raises(Invalid, match="invalid_state"):
        login_requests.ask(db, request_id, trip, ADA)


def test_only_the_browser_that_was_asked_may_allow_and_once(server: PasswordServer, db: Database) -> None:
    begun = begin(server)
    trip, consent = come_back(db, begun["user_code"])
    for text_, browser in ((consent, "x" * 43), ("x" * 43, trip.browser), ("", "")):
        with pytest.raises(Invalid, match="invalid_state"):
            login_requests.answer(db, text_, browser, allowed=True)
    assert collect(server, begun["device_code"]).json() == {"detail": "authorization_pending"}
    login_requests.answer(db, consent, trip.browser, allowed=True)
    with pytest.raises(Invalid, match="invalid_state"):
        login_requests.answer(db, consent, trip.browser, allowed=False)


def test_another_state_means_another_nonce_and_verifier() -> None:
    first, second = Trip("state-1", "secret"), Trip("state-2", "secret")
    assert len({first.nonce, first.verifier, second.nonce, second.verifier}) == 4
    assert first.nonce == Trip("state-1", "secret").nonce and len(first.verifier) == 43


def test_a_providers_user_is_the_same_user_at_every_login_and_never_one_of_that_name(
    server: PasswordServer, db: Database
) -> None:
    form = {"username": "grace", "password": "a good password"}
    asking.post(f"{server.url}/auth/password/register", json=form).raise_for_status()
    names = []
    for identity in (
        Identity(ADA.issuer, "subject-2", "grace"),
        Identity(ADA.issuer, "subject-2", "grace hopper"),
        Identity(ADA.issuer, "subject-3", "grace"),
        Identity("https://other.example", "subject-2", "grace"),
    ):
        trip = login_requests.depart(db, begin(server)["user_code"], None, "")
        names.append(login_requests.ask(db, login_requests.check_return(db, trip), trip, identity).username)
    assert names == ["grace-2", "grace-2", "grace-3", "grace-4"]
    refused = asking.post(f"{server.url}/auth/password/login", data={**form, "username": "grace-2"})
    assert refused.status_code == 401, "who comes from a provider has no password here"


def test_wrong_codes_are_limited_for_their_address(server: PasswordServer) -> None:
    answers = [
        asking.get(f"{server.url}/auth/oauth/institute/login/device", params={"user_code": "XXXX-XXXX"})
        for _ in range(attempts.OF_CODES.burst + 1)
    ]
    assert [one.status_code for one in answers] == [400] * attempts.OF_CODES.burst + [429]
    assert answers[0].json() == {"detail": "invalid_client"} and "retry-after" in answers[-1].headers


def test_a_callback_that_nobody_expects_is_refused_as_published(server: PasswordServer) -> None:
    answer = asking.get(f"{server.url}/auth/oauth/institute/callback", params={"code": "a", "state": "b"})
    assert (answer.status_code, answer.json()) == (400, {"detail": "invalid_state"})


def test_errors_are_pages_for_who_reads_pages(server: PasswordServer) -> None:
    address = f"{server.url}/auth/oauth/institute/callback?state=<script>"
    answer = asking.get(address, headers={"accept": "text/html"})
    assert answer.status_code == 400 and answer.headers["content-type"].startswith("text/html")
    assert "run balsam login again" in answer.text and "<script>" not in answer.text


def test_pages_are_locked_down(server: PasswordServer) -> None:
    page = asking.get(f"{server.url}/auth/oauth/institute/login/device")
    assert page.status_code == 200 and 'name="user_code"' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert (page.headers["referrer-policy"], page.headers["cache-control"]) == ("no-referrer", "no-store")


def test_another_provider_is_unknown_and_none_is_offered_where_there_is_none(
    server: PasswordServer, password_server: PasswordServer
) -> None:
    assert asking.get(f"{server.url}/auth/oauth/other/login/device").status_code == 404
    assert asking.get(f"{password_server.url}/auth/oauth/oidc/login/device").status_code == 404
    refused = asking.post(f"{password_server.url}/auth/device/login", data={"client_id": "x"})
    assert refused.status_code == 403 and "it offers password" in refused.json()["detail"]


def test_addresses_are_the_public_ones_where_they_are_set(new_database: Callable[[], str]) -> None:
    public = "https://balsam.example/sub"
    settings = {"oauth_issuer": ADA.issuer, "oauth_client_id": "balsam", "public_url": public + "/"}
    with PasswordServer(new_database(), **settings) as behind:
        begun = begin(behind)
        assert begun["verification_uri"] == f"{public}/auth/oauth/oidc/login/device"
        answer = asking.post(f"{behind.url}/auth/browser/login", data={}).json()
        assert answer["address"] == f"{public}/auth/oauth/oidc/login?user_code={answer['user_code']}"
        headers = {"host": "evil.example"}
        assert "evil" not in asking.post(f"{behind.url}/auth/browser/login", headers=headers).text
