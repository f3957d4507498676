"""Single requests over plain HTTP, each on a connection of its own.

As `httpx.get` and its like, which would read the certificates of all authorities for each: 30 ms.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import httpx

_NOBODY_IS_TRUSTED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def request(method: str, url: str, *, timeout: float = 60.0, **options: Any) -> httpx.Response:
    """`options`: as httpx takes them."""
    return httpx.request(method, url, verify=_NOBODY_IS_TRUSTED, timeout=timeout, **options)


def get(url: str, **options: Any) -> httpx.Response:
    return request("GET", url, **options)


def post(url: str, **options: Any) -> httpx.Response:
    return request("POST", url, **options)


def patch(url: str, **options: Any) -> httpx.Response:
    return request("PATCH", url, **options)


def delete(url: str, **options: Any) -> httpx.Response:
    return request("DELETE", url, **options)


def client(
    base_url: str = "",
    headers: Mapping[str, str] | Mapping[bytes, bytes] | None = None,
    *,
    local_address: str | None = None,
) -> httpx.Client:
    """For several requests on one connection; `local_address`: of this machine, from which it comes."""
    transport = httpx.HTTPTransport(verify=_NOBODY_IS_TRUSTED, local_address=local_address)
    return httpx.Client(base_url=base_url, headers=headers, transport=transport, timeout=60.0)
