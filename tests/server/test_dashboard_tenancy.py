"""Pages are tried by strangers with ids of others and with ids of nobody: the two must look the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import httpx
import pytest

from tests.server.dashboard_routes import PAGE_TRIES, PageTry
from tests.server.test_tenancy import Tenant, _spread_ids
from tests.server.visits import Visit
from tests.services import PasswordServer

# What ends the visit that tries it.
TRIES = [one for one in PAGE_TRIES if one.route not in ("/ui/logout", "/ui/live")]


@pytest.fixture(scope="module")
def victim(password_server: PasswordServer) -> Iterator[Tenant]:
    _spread_ids(password_server.server.db)
    user = password_server.new_user()
    yield Tenant(password_server, user, "victim")
    user.client.close()


@pytest.fixture(scope="module")
def stranger(password_server: PasswordServer) -> Iterator[Tenant]:
    user = password_server.new_user()
    yield Tenant(password_server, user, "stranger")
    user.client.close()


def send(visit: Visit, one: PageTry, theirs: Mapping[str, int], own: Mapping[str, int]) -> httpx.Response:
    names = {**theirs, **{f"own_{name}": number for name, number in own.items()}}
    path = re.sub(r"{(\w+)_id}", lambda found: str(names[found[1]]), one.route)
    path += f"?{one.query.format(**names)}" if one.query else ""
    if one.method == "GET":
        return visit.get(path)
    return visit.send(path, **{name: value.format(**names) for name, value in one.fields.items()})


def told(answer: httpx.Response, ids: Mapping[str, int]) -> tuple[int, str, str]:
    """An answer without the ids that the request named, times of day and what is random."""
    text = answer.text + answer.headers.get("location", "")
    for name, number in ids.items():
        text = re.sub(rf"\b{number}\b", f"<{name}>", text)
    text = re.sub(
        r"\d{4}-\d\d-\d\d[T ][\d:.]+Z?|\b\d\d:\d\d:\d\d\b|\d+(\.\d)? (s|min)\b|_us\":\d+", "<time>", text
    )
    text = re.sub(r'name="key" value="[^"]+"', "<key>", text)
    return (
        answer.status_code,
        re.sub(r"\[[\d.,]+\]", "<numbers>", text),
        answer.headers.get("content-type", ""),
    )


def test_things_of_another_user_look_like_things_of_nobody(
    password_server: PasswordServer, victim: Tenant, stranger: Tenant
) -> None:
    nobody = {name: 10**15 + number for number, name in enumerate(victim.ids)}
    before = victim.view()
    with Visit(password_server.url, token=stranger.token) as visit:
        for one in TRIES:
            stranger.beat()
            victim.beat()
            answers = [send(visit, one, ids, stranger.ids) for ids in (nobody, victim.ids)]
            assert told(answers[0], nobody) == told(answers[1], victim.ids), one
            assert "victim/" not in answers[1].text and "/victim" not in answers[1].text, one
            assert answers[1].status_code < 500, one
    assert victim.view() == before


def test_the_owner_sees_what_the_stranger_does_not(password_server: PasswordServer, victim: Tenant) -> None:
    with Visit(password_server.url, token=victim.token) as visit:
        seen = [one for one in TRIES if one.method == "GET"]
        pages = [send(visit, one, victim.ids, victim.ids) for one in seen]
    assert {page.status_code for page in pages} <= {200, 409}  # nobody answers for the output
    assert sum("victim" in page.text for page in pages) > 25


def test_without_a_session_a_browser_is_asked_to_log_in(
    password_server: PasswordServer, victim: Tenant
) -> None:
    before = victim.view()
    for token in ("", "nonsense"):
        with Visit(password_server.url, token=token) as visit:
            for one in PAGE_TRIES:
                if one.method == "GET":
                    answer = send(visit, one, victim.ids, victim.ids)
                    assert answer.status_code == 303, one
                    assert answer.headers["location"].startswith("/ui/login"), one
                else:
                    path = re.sub(r"{(\w+)_id}", lambda found: str(victim.ids[found[1]]), one.route)
                    assert visit.http.post(path, data={"form_token": "x"}).status_code == 401, one
    assert victim.view() == before


def test_a_sites_token_opens_no_page(password_server: PasswordServer, victim: Tenant) -> None:
    with Visit(password_server.url, token=victim.site_token) as visit:
        for one in PAGE_TRIES:
            if one.method == "GET":
                assert send(visit, one, victim.ids, victim.ids).status_code == 403, one


def test_a_session_opens_nothing_but_pages(password_server: PasswordServer, victim: Tenant) -> None:
    with Visit(password_server.url, token=victim.token) as visit:
        for cookie in visit.http.cookies.jar:
            cookie.path = "/"  # as if a browser sent it everywhere
        assert visit.get("/ui/jobs").status_code == 200
        for path in ("/jobs/", "/sites/", "/stream", "/auth/logins", "/auth/password/me"):
            assert visit.get(path).status_code == 401, path
