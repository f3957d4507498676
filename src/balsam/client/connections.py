"""This process's connections to one server: made when they are first used, and never shared with a fork."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakSet

import httpx

from balsam.client import tls
from balsam.client.errors import UnusableProxy
from balsam.core.forks import renew_in_children
from balsam.core.proxies import BadProxy, Proxy, usable_proxy

# When the HTTP library has opened a socket, or has put TLS upon one: ends of names of its trace.
_OPENED = (".connect_tcp.complete", ".start_tls.complete")
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=4.0)
# What streams are under way on, by the library's client of each.
_STREAMING: dict[int, Connections] = {}


class Connections:
    """The HTTP library's clients for one server. Thread safe.

    Raises OSError at once for a `ca_file` that is no use, and UnusableProxy at the first request.
    `transport`: in place of the network.
    """

    def __init__(
        self,
        api_root: str,
        ca_file: str | Path | None,
        timeout: httpx.Timeout,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._api_root = api_root
        self._ca_file = ca_file
        self._timeout = timeout
        self._transport = transport
        self._trust: ssl.SSLContext | None = tls.verification(api_root, ca_file)
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None
        self._apart: set[httpx.Client] = set()
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._is_closed = False
        self.proxy: Proxy | None = None  # that they go through, once one was opened
        renew_in_children(self)

    def after_fork(self) -> None:
        """The child closes its copies of the parent's sockets, without a word over them."""
        self._lock = threading.Lock()
        self._http = None
        self._apart = set()
        self._trust = None  # it has locks inside
        sockets, self._sockets = list(self._sockets), WeakSet()
        for one in sockets:
            one.close()

    def request(
        self,
        method: str,
        url: str,
        *,
        params: httpx.QueryParams | None = None,
        content: bytes | None = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: httpx.Timeout | None = None,
    ) -> httpx.Request:
        return self.shared().build_request(
            method,
            url,
            params=params,
            content=content,
            data=None if form is None else dict(form),
            headers=headers,
            timeout=timeout or self._timeout,
            extensions={"trace": self._note},
        )

    def shared(self) -> httpx.Client:
        """For requests of all threads."""
        http = self._http
        if http is None:
            with self._lock:
                http = self._http = self._http or self._open()
        return http

    @contextlib.contextmanager
    def apart(self) -> Iterator[httpx.Client]:
        """For one stream: of its locks none is ever held by a thread that a forked child lacks."""
        if self._transport is not None:
            yield self.shared()
            return
        with self._open() as http:
            # Held here, and from outside: else a dropped stream, its client and its socket are garbage
            # at once, and are ended in no order.
            self._apart.add(http)
            _STREAMING[id(http)] = self
            try:
                yield http
            finally:
                self._apart.discard(http)
                _STREAMING.pop(id(http), None)

    def close(self) -> None:
        """Ends what is under way, also under those who read."""
        self._is_closed = True
        if self._http is not None:
            self._http.close()
        for one in list(self._sockets):
            with contextlib.suppress(OSError):  # closed already
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _open(self) -> httpx.Client:
        if self._is_closed:
            raise RuntimeError(f"the client of {self._api_root} is closed")
        transport = self._transport or self._over_the_network()
        return httpx.Client(timeout=self._timeout, transport=transport, trust_env=False)

    def _over_the_network(self) -> httpx.HTTPTransport:
        if self._trust is None:
            self._trust = tls.verification(self._api_root, self._ca_file)
        try:
            self.proxy = usable_proxy(self._api_root, os.environ)
        except BadProxy as exc:
            raise UnusableProxy(str(exc)) from exc
        try:
            through = _as_known_to_library(self.proxy, self._trust)
        except httpx.InvalidURL as exc:
            assert self.proxy is not None
            raise UnusableProxy(f"{self.proxy.variable} names no proxy that can be used: {exc}") from exc
        return httpx.HTTPTransport(verify=self._trust, trust_env=False, limits=LIMITS, proxy=through)

    def _note(self, name: str, info: Mapping[str, Any]) -> None:
        if name.endswith(_OPENED):
            opened = info["return_value"].get_extra_info("socket")
            if isinstance(opened, socket.socket):
                self._sockets.add(opened)
                if self._is_closed:  # while it was being opened
                    with contextlib.suppress(OSError):
                        opened.shutdown(socket.SHUT_RDWR)


def _as_known_to_library(proxy: Proxy | None, trust: ssl.SSLContext) -> httpx.Proxy | None:
    if proxy is None:
        return None
    is_secure = proxy.url.startswith("https://")
    return httpx.Proxy(proxy.url, ssl_context=trust if is_secure else None)
