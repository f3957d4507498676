"""Messages on a byte stream: four bytes of length, then the body."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

# With which a Python worker ends whose end of the connection user code has closed.
CLOSED_CODE = 119
_LENGTH = struct.Struct(">I")


def frame(body: bytes) -> bytes:
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts what arrives into bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies that `data` completes."""
        self._buffer += data
        while len(self._buffer) >= 4:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if len(self._buffer) < 4 + length:
                return
            body = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            yield body


def receive(link: socket.socket) -> bytes | None:
    """Waits for one body; None at the end of the stream."""
    head = _exactly(link, 4)
    return None if head is None else _exactly(link, _LENGTH.unpack(head)[0])


def _exactly(link: socket.socket, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        piece = link.recv(min(count - len(data), 1 << 20))
        if not piece:
            return None
        data += piece
    return bytes(data)
