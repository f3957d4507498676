"""What the server asks of others: straight, or through the proxy that the environment names for a URL."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import httpx

from balsam.core.proxies import BadProxy, Proxy, usable_proxy


class Proxied(httpx.BaseTransport):
    """As all of Balsam's programs go: never through a proxy to this machine; errors name the proxy."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._lock = threading.Lock()
        self._trust = httpx.create_ssl_context()
        self._ways: dict[str | None, httpx.HTTPTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Raises httpx.ProxyError for a proxy that can't be used."""
        try:
            proxy = usable_proxy(str(request.url), self._environ)
            way = self._way(proxy)
        except (BadProxy, httpx.InvalidURL) as exc:
            raise httpx.ProxyError(str(exc)) from exc
        try:
            return way.handle_request(request)
        except httpx.TransportError as exc:
            if proxy is None:
                raise
            raise type(exc)(f"{exc} ({proxy.way})") from exc

    def close(self) -> None:
        for way in self._ways.values():
            way.close()

    def _way(self, proxy: Proxy | None) -> httpx.HTTPTransport:
        url = None if proxy is None else proxy.url
        with self._lock:
            if url not in self._ways:
                through = None
                if url is not None:
                    trust = self._trust if url.startswith("https://") else None
                    through = httpx.Proxy(url, ssl_context=trust)
                self._ways[url] = httpx.HTTPTransport(verify=self._trust, trust_env=False, proxy=through)
            return self._ways[url]
