"""Posting a message to a webhook: to a checked address, signed, in bounded time, and to nowhere else."""

from __future__ import annotations

import hashlib
import hmac
import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore
import orjson

from balsam.core.alerts import DELIVERY_HEADER, EVENT_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER
from balsam.core.errors import DeliveryFailed
from balsam.server.addresses import NotAllowed, Reach

Row = dict[str, Any]


class _Stream(httpcore.NetworkStream):
    """A connection that ends at a deadline, however slowly its other end goes on."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: float) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(self._deadline, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(self._deadline, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _left(deadline: float, error: type[httpcore.TimeoutException]) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise error
    return left


class _Checked(httpcore.NetworkBackend):
    """Connects to the very addresses that were checked: a name may have others when it is asked again."""

    def __init__(self, reach: Reach, deadline: float) -> None:
        self._reach = reach
        self._deadline = deadline
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._reach.resolved(host, port)
        for address in addresses:
            left = _left(self._deadline, httpcore.ConnectTimeout)
            try:
                return _Stream(self._inner.connect_tcp(address, port, left), self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if address == addresses[-1]:
                    raise
        raise OSError("it has no address")


class Webhooks:
    """`trust`: whose certificates are believed. No proxy is used and no redirect followed."""

    def __init__(self, reach: Reach, trust: ssl.SSLContext, timeout_sec: float) -> None:
        self._reach = reach
        self._trust = trust
        self._timeout_sec = timeout_sec

    def post(self, delivery: Row) -> None:
        """Returns when it was taken with a 2xx; raises DeliveryFailed with a sentence without the URL."""
        url = httpcore.URL(delivery["address"])
        host = url.host.decode()
        content = orjson.dumps(delivery["body"])
        try:
            status = self._status(url, _headers(delivery, content), content)
        except NotAllowed as exc:
            raise DeliveryFailed(str(exc)) from None
        except httpcore.TimeoutException:
            raise DeliveryFailed(f"{host} did not answer within {self._timeout_sec:g} s") from None
        except httpcore.ProtocolError:
            raise DeliveryFailed(f"{host} does not speak HTTP") from None  # nor are its words handed on
        except (OSError, httpcore.NetworkError) as exc:
            raise DeliveryFailed(f"{host} could not be reached: {_reason(exc)}") from None
        if 300 <= status < 400:
            raise DeliveryFailed(f"{host} answered {status}: redirects are not followed")
        if not 200 <= status < 300:
            raise DeliveryFailed(f"{host} answered {status}")

    def _status(self, url: httpcore.URL, headers: dict[bytes | str, bytes | str], content: bytes) -> int:
        backend = _Checked(self._reach, time.monotonic() + self._timeout_sec)
        with (
            httpcore.ConnectionPool(self._trust, network_backend=backend) as pool,
            pool.stream("POST", url, headers=headers, content=content) as response,
        ):
            return int(response.status)  # what it says beside that is not read


def _headers(delivery: Row, content: bytes) -> dict[bytes | str, bytes | str]:
    stamp = str(int(time.time()))
    headers: dict[bytes | str, bytes | str] = {
        "Content-Type": "application/json",
        "User-Agent": "Balsam",
        DELIVERY_HEADER: delivery["key"],
        EVENT_HEADER: delivery["event"],
        TIMESTAMP_HEADER: stamp,
    }
    if delivery["secret"] is not None:
        signed = hmac.new(delivery["secret"].encode(), f"{stamp}.".encode() + content, hashlib.sha256)
        headers[SIGNATURE_HEADER] = f"sha256={signed.hexdigest()}"
    return headers


def _reason(exc: Exception) -> str:
    """The system's words; of ours none hold what a user has given."""
    text = " ".join(str(exc).split())
    return text or type(exc).__name__
