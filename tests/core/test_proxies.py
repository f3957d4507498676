"""Loopback goes straight, whatever the environment says; the rest as curl reads the same variables."""

from __future__ import annotations

import pytest

from balsam.core.proxies import BadProxy, Proxy, proxy_for

EVERYWHERE = {
    name: "http://proxy:3128"
    for variable in ("http_proxy", "https_proxy", "all_proxy")
    for name in (variable, variable.upper())
}


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST", "localhost.", "my.localhost", "127.0.0.1", "127.9.8.7", "127.1"),
        *("2130706433", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "ip6-localhost"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_this_machine_is_reached_without_any_proxy(scheme: str, host: str) -> None:
    assert proxy_for(f"{scheme}://{host}:8000/x", EVERYWHERE) is None


@pytest.mark.parametrize(
    ("url", "environ", "variable"),
    [
        ("http://lab", {"http_proxy": "p"}, "http_proxy"),
        ("http://lab", {"HTTP_PROXY": "p"}, "HTTP_PROXY"),
        ("http://lab", {"HTTP_PROXY": "p", "REQUEST_METHOD": "GET"}, None),
        ("http://lab", {"https_proxy": "p"}, None),
        ("https://lab", {"http_proxy": "p", "ALL_PROXY": "q"}, "ALL_PROXY"),
        ("https://lab", {"https_proxy": "", "HTTPS_PROXY": "p"}, None),
        ("https://lab", {"https_proxy": "p", "HTTPS_PROXY": "q"}, "https_proxy"),
        ("https://lab.org", {"https_proxy": "p", "no_proxy": "x, .org"}, None),
        ("https://lab.org", {"https_proxy": "p", "NO_PROXY": "*.lab.org LAB.org:443"}, None),
        ("https://lab.org", {"https_proxy": "p", "NO_PROXY": "lab.org:8443,ab.org"}, "https_proxy"),
        ("https://lab.org", {"https_proxy": "p", "NO_PROXY": "*"}, None),
        ("https://10.1.2.3", {"https_proxy": "p", "NO_PROXY": "10.0.0.0/8"}, None),
        ("https://[fd00::1]", {"https_proxy": "p", "NO_PROXY": "[fd00::1]"}, None),
        ("https://11.1.2.3", {"https_proxy": "p", "NO_PROXY": "10.0.0.0/8,junk/99"}, "https_proxy"),
    ],
)
def test_the_variable_that_counts(url: str, environ: dict[str, str], variable: str | None) -> None:
    found = proxy_for(url, environ)
    assert (found.variable if found else None) == variable


def test_a_proxys_password_is_not_shown() -> None:
    found = proxy_for("https://lab", {"https_proxy": "HTTPS://me:secret@proxy:1"})
    assert found == Proxy("https://me:secret@proxy:1", "https_proxy")
    assert found.shown == "https://proxy:1" and not found.is_socks


@pytest.mark.parametrize(
    "text",
    ["http://a b", "http://h:99999", "http://h:x", "socks4://me:secret@h", "://", "http://", '"h:1"', "h:0"],
)
def test_a_malformed_value_is_a_sentence_that_names_the_variable(text: str) -> None:
    with pytest.raises(
        BadProxy, match=r"^the variable http_proxy holds .*: write it as .*, or unset"
    ) as caught:
        proxy_for("http://lab", {"http_proxy": text})
    assert "secret" not in str(caught.value)
