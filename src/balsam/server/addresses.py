"""Where a server may post to on behalf of its users, decided by the address that is really connected to.

A server stands where its users may not be: inside an institution's network, beside its database and cloud
metadata. So one that many share connects only to the public internet, and to what its operator names.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from balsam.core.errors import Invalid

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class NotAllowed(Exception):
    """The server does not connect there; its text is for the rule's owner."""


@dataclass(frozen=True, slots=True)
class Reach:
    """`anywhere`: for a server of one user; else `hosts` and `networks` beside the public internet."""

    anywhere: bool
    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, anywhere: bool, words: tuple[str, ...]) -> Reach:
        """`words`: names of hosts, addresses, and networks such as 10.1.0.0/16; raises Invalid."""
        hosts, networks = set[str](), list[Network]()
        for word in words:
            try:
                networks.append(ipaddress.ip_network(word))
            except ValueError:
                if "/" in word:
                    raise Invalid(f"alert_hosts: {word!r} is no network") from None
                hosts.add(word.lower().rstrip("."))
        return cls(anywhere, frozenset(hosts), tuple(networks))

    def check(self, url: str) -> None:
        """Raises Invalid where a webhook can't be there, as far as shows without asking a name server."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise Invalid("the webhook's address is no URL") from None
        if parts.scheme not in ("http", "https") or not host or not url.isascii() or not url.isprintable():
            raise Invalid("a webhook's address begins with https:// or http:// and the name of a host")
        if " " in url or parts.username is not None or parts.password is not None:
            raise Invalid("a webhook's address holds no spaces, user or password")
        try:
            literal = ipaddress.ip_address(host)
        except ValueError:
            return
        try:
            self._require(host, literal)
        except NotAllowed as exc:
            raise Invalid(str(exc)) from None

    def resolved(self, host: str, port: int) -> list[str]:
        """The host's addresses; raises NotAllowed where it has one that is none to connect to, OSError."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise NotAllowed(f"{host} is no name of a host") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            self._require(host, ipaddress.ip_address(address))
        return addresses

    def _require(self, host: str, address: Address) -> None:
        if self.anywhere or host.lower().rstrip(".") in self.hosts:
            return
        inner = _inner(address)
        if any(
            one.version == net.version and one in net for net in self.networks for one in (address, inner)
        ):
            return
        if inner.is_global and not inner.is_multicast and not inner.is_reserved and not _is_of_a_site(inner):
            return
        # Without the address: what names inside a network stand for is nobody's business.
        raise NotAllowed(
            f"{host} leads inside a network, where this server does not post; its operator can allow it with "
            "alert_hosts"
        )


def _is_of_a_site(address: Address) -> bool:
    """fec0::/10, which was for inside a network before fc00::/7 was, and still counts as global."""
    return isinstance(address, ipaddress.IPv6Address) and address.is_site_local


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to, where it does."""
    if not isinstance(address, ipaddress.IPv6Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1] or address
