"""Coming into the dashboard through a login provider."""

from __future__ import annotations

from tests.machines.visitor import Visitor
from tests.services import PasswordServer


def test_a_browser_comes_in_through_the_provider_and_is_not_asked_for_a_program(
    institute: PasswordServer, visitor: Visitor
) -> None:
    assert "Log in at your institution" in visitor.open(f"{institute.url}/ui/")
    visitor.open(f"{institute.url}/ui/login/provider")
    page = visitor.log_in("vera")
    assert visitor.page.status_code == 200 and "vera of the institute" in page
    assert str(visitor.page.url) == f"{institute.url}/ui/"
    assert "browser" in visitor.open(f"{institute.url}/ui/tokens")
    addresses = " ".join(visitor.seen)
    assert "bl_" not in addresses and "br_" not in addresses


def test_a_way_back_in_another_browser_brings_nobody_in(institute: PasswordServer, visitor: Visitor) -> None:
    with Visitor() as victim:
        visitor.open(f"{institute.url}/ui/login/provider")
        visitor.submit(login="mallory", password="any")
        visitor.submit()
        back = next(address for address in reversed(visitor.seen) if "/callback?" in address)
        victim.open(back)
        assert victim.page.status_code == 400
        assert "Log in" in victim.open(f"{institute.url}/ui/")
        victim.open(f"{institute.url}/ui/login/provided")
        assert victim.page.status_code == 400
