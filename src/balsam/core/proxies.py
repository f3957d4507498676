"""Which proxy stands between this process and a URL, by the variables that curl and others read."""

from __future__ import annotations

import importlib.util
import ipaddress
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

SCHEMES = ("http", "https", "socks5", "socks5h")
_KNOWN = ", ".join(f"{scheme}://" for scheme in SCHEMES)
_LOCAL_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class BadProxy(ValueError):
    """A variable that names no proxy that can be used; the sentence names it and the remedy."""


@dataclass(frozen=True)
class Proxy:
    """`variable`: where it stands. `url` may hold a password; `shown` does not."""

    url: str
    variable: str

    @property
    def shown(self) -> str:
        return _without_password(self.url)

    @property
    def way(self) -> str:
        """How a request goes, for a sentence."""
        return f"through the proxy {self.shown} that {self.variable} names"

    @property
    def is_socks(self) -> bool:
        return self.url.startswith("socks")


def proxy_for(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy to use; None for this machine itself, and for what no_proxy names. Raises BadProxy."""
    address = urlsplit(url)
    host = (address.hostname or "").rstrip(".")
    if is_local(host) or _is_excepted(host, address, environ):
        return None
    for variable, text in _settings(address.scheme, environ):
        return Proxy(_checked(text, variable), variable)
    return None


def usable_proxy(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """The same; BadProxy also for one that needs a package which is not here."""
    proxy = proxy_for(url, environ)
    if proxy is not None and proxy.is_socks and importlib.util.find_spec("socksio") is None:
        raise BadProxy(
            f"{proxy.variable} names the SOCKS proxy {proxy.shown}, which needs the package socksio: "
            f"run `{sys.executable} -m pip install socksio`, or name {urlsplit(url).hostname} in no_proxy "
            "if it can be reached without"
        )
    return proxy


def is_local(host: str) -> bool:
    """Whether a host, as it stands in a URL, is this machine by its very name or number."""
    name = host.rstrip(".").lower()
    if name in _LOCAL_NAMES or name.endswith(".localhost"):
        return True
    address = _ip_address(name)
    if address is None:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return bool(address.is_loopback or address.is_unspecified)


def _settings(scheme: str, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Variables that count for this scheme, the first of them first; small letters come before capitals."""
    for name in (f"{scheme}_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            # A web server hands a request's header `Proxy` to its programs in this variable.
            is_a_strangers = variable == "HTTP_PROXY" and "REQUEST_METHOD" in environ
            text = environ.get(variable, "").strip()
            if text and not is_a_strangers:
                yield variable, text
            if variable in environ and not is_a_strangers:
                break  # set, if only to nothing: so the capitals do not count


def _checked(text: str, variable: str) -> str:
    url = text if "://" in text else f"http://{text}"
    try:
        address = urlsplit(url)
        port = address.port
    except ValueError as exc:
        raise _is_no_proxy(text, variable, str(exc)) from exc
    if address.scheme.lower() not in SCHEMES:
        raise _is_no_proxy(text, variable, f"it speaks none of {_KNOWN}")
    if not re.fullmatch(r"[\w.:%-]+", address.hostname or ""):
        raise _is_no_proxy(text, variable, "it names no host")
    if port == 0:
        raise _is_no_proxy(text, variable, "its port is 0")
    return address._replace(scheme=address.scheme.lower()).geturl()


def _is_no_proxy(text: str, variable: str, reason: str) -> BadProxy:
    return BadProxy(
        f"the variable {variable} holds {_without_password(text)!r}, which is no proxy that Balsam can use "
        f"({reason}): write it as http://HOST:PORT, or unset {variable}"
    )


def _without_password(text: str) -> str:
    """As it stands, but for a name and password."""
    return re.sub(r"^([^/]*//)?[^/?#]*@", lambda found: found[1] or "", text)


def _is_excepted(host: str, address: SplitResult, environ: Mapping[str, str]) -> bool:
    """Whether no_proxy names the host: itself, a domain above it, its network, or all (`*`)."""
    try:
        port = address.port or _DEFAULT_PORTS.get(address.scheme)
    except ValueError:
        port = None
    named = environ.get("no_proxy") if "no_proxy" in environ else environ.get("NO_PROXY")
    return any(_matches(entry, host.lower(), port) for entry in re.split(r"[,\s]+", named or "") if entry)


def _matches(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    pattern, _, of_port = _split_port(entry.lower().rpartition("://")[2])
    if of_port and of_port != str(port):
        return False
    address = _ip_address(host)
    if address is not None:
        return _holds(pattern, address)
    name = pattern.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split_port(entry: str) -> tuple[str, str, str]:
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, ":", rest.removeprefix(":")
    return entry.partition(":") if entry.count(":") == 1 else (entry, "", "")


def _holds(network: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:  # 127.1 and 2130706433 are addresses to whoever opens a connection
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeEncodeError):
        return None
