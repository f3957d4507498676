"""Which addresses a server that many share posts to."""

from __future__ import annotations

import pytest

from balsam.core.errors import Invalid, InvalidSettings
from balsam.server.addresses import NotAllowed, Reach
from balsam.server.settings import load

PUBLIC = Reach.of(False, ())


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.5.4",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:a9fe:a9fe::",
        # Other ways to write an address, which the system's resolver knows.
        "localhost",
        "2130706433",
        "0x7f.1",
        "127.1",
    ],
)
def test_what_is_inside_a_network_is_refused(host: str) -> None:
    with pytest.raises(NotAllowed, match="alert_hosts"):
        PUBLIC.resolved(host, 80)


@pytest.mark.parametrize("host", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_what_is_public_is_reached(host: str) -> None:
    assert PUBLIC.resolved(host, 443)


def test_what_is_no_name_is_said_to_be_none() -> None:
    with pytest.raises(NotAllowed, match="no name"):
        PUBLIC.resolved("a" * 64 + ".org", 80)


def test_the_operator_can_name_hosts_and_networks() -> None:
    reach = Reach.of(False, ("LocalHost", "10.1.0.0/16", "192.168.7.7", "fd00::/8"))
    for host in ("localhost", "10.1.2.3", "192.168.7.7", "fd12::1", "::ffff:10.1.2.3"):
        assert reach.resolved(host, 80)
    for host in ("127.0.0.1", "10.2.0.1", "192.168.7.8"):
        with pytest.raises(NotAllowed):
            reach.resolved(host, 80)


def test_a_server_of_one_user_reaches_everything() -> None:
    assert Reach.of(True, ()).resolved("127.0.0.1", 80) == ["127.0.0.1"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.org",
        "//hooks.example.org/x",
        "file:///etc/passwd",
        "gopher://example.org/",
        "http://",
        "http://a b/",
        "http://user@example.org/",
        "http://example.org:port/",
        "http://[::1/",
        "http://example.org/\r\nX: y",
        "http://10.0.0.1/",
        "http://[::ffff:10.0.0.1]/",
    ],
)
def test_urls_that_are_none_are_refused_at_once(url: str) -> None:
    with pytest.raises(Invalid):
        PUBLIC.check(url)


def test_an_ordinary_url_is_taken() -> None:
    PUBLIC.check("https://hooks.example.org:8443/services/T0/B0?x=1")


@pytest.mark.parametrize(
    "variables",
    [
        {"BALSAM_ALERT_HOSTS": "10.1.0.0/99"},
        {"BALSAM_ALERT_CA_FILE": "/nowhere/at/all.pem"},
        {"BALSAM_MAIL_HOST": "mail.example.org"},
        {"BALSAM_MAIL_HOST": "m", "BALSAM_MAIL_FROM": "Balsam <b@example.org>"},
        {"BALSAM_MAIL_HOST": "m", "BALSAM_MAIL_FROM": "b@example.org", "BALSAM_MAIL_USER": "b"},
        {"BALSAM_MAIL_SECURITY": "ssl"},
    ],
)
def test_settings_that_can_not_work_are_refused(variables: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings):
        load({"BALSAM_DATABASE_URL": "sqlite://", **variables}, None)
