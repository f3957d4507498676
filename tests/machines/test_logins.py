"""Logging in at a certified OpenID Connect provider, by device code and by browser, as users do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from balsam.client import login_flows
from balsam.client.errors import LoginRefused
from balsam.client.login import load_login
from balsam.client.transport import Client
from balsam.core.logins import LoginMethod
from tests.machines.visitor import Visitor
from tests.services import PasswordServer
from tests.waiting import wait_until


class BalsamLogin:
    """`balsam login` in a home of its own, without a terminal, waiting for a browser."""

    def __init__(self, home: Path, url: str, *flags: str) -> None:
        self.file = home / ".balsam" / "client.yml"
        self.said = home / "said"
        command = [sys.executable, "-m", "balsam.cli.main", "login", "--url", url, *flags]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BALSAM_")}
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                command,
                env={**environment, "HOME": str(home)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        wait_until(lambda: "Waiting" in self.text, timeout=60, on_timeout=lambda: self.text)

    @property
    def text(self) -> str:
        return self.said.read_text()

    @property
    def address(self) -> str:
        """The one to open."""
        return next(line.strip() for line in self.text.splitlines() if line.startswith("  http"))

    def end(self) -> int:
        return self.process.wait(60)


Login = Callable[..., BalsamLogin]


@pytest.fixture
def balsam_login(institute: PasswordServer, tmp_path: Path) -> Iterator[Login]:
    started: list[BalsamLogin] = []

    def start(*flags: str) -> BalsamLogin:
        started.append(BalsamLogin(tmp_path, institute.url, *flags))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def whoami(login: BalsamLogin) -> str:
    stored = load_login(login.file)
    assert stored is not None and stored.refresh_token is not None
    with stored.client(login.file) as client:
        return str(client.get("/auth/password/me")["username"])


def test_login_with_the_code_typed_on_another_machine(balsam_login: Login, visitor: Visitor) -> None:
    login = balsam_login("--device")
    found = re.search(r"open (http\S+)\nand type the code ([A-Z]{4}-[A-Z]{4})", login.text)
    assert found is not None
    page, code = found.groups()
    visitor.open(page)
    visitor.submit(user_code=code.lower())
    asked = visitor.log_in("ada")
    assert code in asked and "ada of the institute" in asked
    assert "You are logged in" in visitor.submit(answer="allow")
    assert login.end() == 0
    assert "as ada of the institute" in login.text
    assert whoami(login) == "ada of the institute"
    assert login.file.stat().st_mode & 0o077 == 0


def test_login_with_the_address_opened_in_a_browser(balsam_login: Login, visitor: Visitor) -> None:
    login = balsam_login("--browser")
    visitor.open(login.address)
    visitor.log_in("grace")
    assert "You are logged in" in visitor.submit(answer="allow")
    assert login.end() == 0
    assert whoami(login) == "grace of the institute"


def test_without_a_choice_a_browser_comes_before_a_password(balsam_login: Login, visitor: Visitor) -> None:
    login = balsam_login()
    visitor.open(login.address)
    visitor.log_in("hedy")
    visitor.submit(answer="refuse")
    assert login.end() == 1
    assert "refused in the browser" in login.text and not login.file.exists()


def test_who_aborts_at_the_provider_is_not_logged_in(balsam_login: Login, visitor: Visitor) -> None:
    login = balsam_login("--device")
    visitor.open(login.address)
    abort = re.search(r'href="([^"]+/abort)"', visitor.page.text)
    assert abort is not None
    said = visitor.open(httpx.URL(str(visitor.page.url)).join(abort.group(1)).__str__())
    assert visitor.page.status_code == 403 and "did not log you in" in said
    assert login.end() == 1 and "refused" in login.text


def test_the_same_person_is_the_same_user(institute: PasswordServer, visitor: Visitor) -> None:
    ids = set()
    for method in (LoginMethod.DEVICE, LoginMethod.BROWSER):
        with Client(institute.url) as client, Visitor() as fresh:
            waiting = login_flows.begin(client, method, renewable=False)
            fresh.open(waiting.address)
            fresh.log_in("emmy")
            fresh.submit(answer="allow")
            answer = login_flows.wait(client, waiting, sleep=lambda _: None)
        with Client(institute.url, answer["access_token"]) as own:
            ids.add(own.get("/auth/password/me")["id"])
    assert len(ids) == 1


def test_who_is_logged_in_at_the_provider_is_still_asked(institute: PasswordServer, visitor: Visitor) -> None:
    with Client(institute.url) as client:
        first = login_flows.begin(client, LoginMethod.BROWSER, renewable=False)
        visitor.open(first.address)
        visitor.log_in("lise")
        visitor.submit(answer="allow")
        theirs = login_flows.begin(client, LoginMethod.BROWSER, renewable=False)
        asked = visitor.open(theirs.address)  # a link that somebody else sent
        assert "Log in a program?" in asked and theirs.user_code in asked
        visitor.submit(answer="refuse")
        with pytest.raises(LoginRefused):
            login_flows.wait(client, theirs, sleep=lambda _: None)


def test_a_way_back_that_somebody_else_sends_logs_nobody_in(
    institute: PasswordServer, visitor: Visitor
) -> None:
    with Client(institute.url) as client, Visitor() as victim:
        attackers = login_flows.begin(client, LoginMethod.BROWSER, renewable=False)
        visitor.open(attackers.address)
        visitor.submit(login="mallory", password="any")
        visitor.submit()
        back = next(address for address in reversed(visitor.seen) if "/callback?" in address)
        assert victim.open(back) and victim.page.status_code == 400
        assert "another browser" in victim.page.text


def test_a_page_that_is_reloaded_says_that_the_login_is_over(
    institute: PasswordServer, visitor: Visitor
) -> None:
    with Client(institute.url) as client:
        waiting = login_flows.begin(client, LoginMethod.DEVICE, renewable=False)
        visitor.open(waiting.address)
        visitor.log_in("marie")
        assert "over" in visitor.open(str(visitor.page.url)) and visitor.page.status_code == 400


def test_addresses_hold_no_token_and_lead_nowhere_else(institute: PasswordServer, visitor: Visitor) -> None:
    with Client(institute.url) as client:
        waiting = login_flows.begin(client, LoginMethod.DEVICE, renewable=True)
        visitor.open(waiting.address)
        visitor.log_in("rosalind")
        visitor.submit(answer="allow")
        answer = login_flows.wait(client, waiting, sleep=lambda _: None)
    addresses = " ".join(visitor.seen)
    for secret in (answer["access_token"], answer["refresh_token"], waiting.device_code):
        assert secret not in addresses
    issuer = institute.settings.oauth_issuer
    assert issuer is not None
    assert all(address.startswith((institute.url, issuer)) for address in visitor.seen)
