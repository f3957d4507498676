"""Why there was no answer, or none of a Balsam server, in a few plain words."""

from __future__ import annotations

import os
import re
import socket
import ssl

import httpx

_MAX_WORDS = 100


def of_failure(exc: httpx.RequestError) -> str:
    """What a person is told of an exception of the HTTP library."""
    if isinstance(exc, httpx.ConnectTimeout):
        return "no connection could be made in time"
    if isinstance(exc, httpx.TimeoutException):
        return "no answer came in time"
    if isinstance(exc, httpx.ProxyError):
        return f"the proxy says: {_plain(str(exc))}"
    if isinstance(exc, httpx.RemoteProtocolError):
        return "the connection ended without a whole answer, or what came is no HTTP"
    if isinstance(exc, httpx.DecodingError):
        return "what came is packed in a way that can't be read"
    return _of_system(exc) or _plain(str(exc)) or type(exc).__name__


def remedy(exc: httpx.RequestError) -> str | None:
    """What helps against a name that nobody knows, and against a server that is silent; None for the rest."""
    if _of_type(exc, socket.gaierror) is not None:
        return (
            "check the server's name in the address (`balsam login -u URL` sets another one), and whether "
            "this machine has a network and a name server that answers"
        )
    if isinstance(exc, httpx.ReadTimeout):
        return (
            "it takes connections and is silent, as where it hangs or has too much to do: `balsam server "
            "status`, on its machine, and its log tell more"
        )
    return None


def of_page(response: httpx.Response) -> str:
    """An answer that no Balsam server gives; a page is named, not shown."""
    status = f"{response.status_code} {_plain(response.reason_phrase)}".strip()
    maker = _plain(response.headers.get("server", ""))
    by = f" by {maker}" if maker else ""
    if response.is_redirect:
        return f"{status}{by}, on to {_plain(response.headers.get('location', ''))}"
    words = "" if is_page(response) else _plain(response.text)
    if words and words != _plain(response.reason_phrase):
        return f"{status}{by}: {words}"
    return f"{status}{by}, with {'a web page' if is_page(response) else 'nothing'} in place of Balsam's words"


def is_page(response: httpx.Response) -> bool:
    """Whether it is for a browser, or longer than what one says to a person in a line."""
    kind = response.headers.get("content-type", "")
    text = response.text.strip()
    return "html" in kind or "xml" in kind or text.startswith("<") or "\n" in text or len(text) > _MAX_WORDS


def _of_system(exc: BaseException) -> str | None:
    """The system's own words, where an exception came from one of its errors."""
    unknown = _of_type(exc, socket.gaierror)
    if unknown is not None:
        return f"its name can't be found: {unknown.strerror}"
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) and cause.errno:
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return None


def _of_type(exc: BaseException | None, kind: type[OSError]) -> OSError | None:
    """The exception, or the one that it came from, that is of this kind."""
    while exc is not None:
        if isinstance(exc, kind):
            return exc
        exc = exc.__cause__ or exc.__context__
    return None


def _plain(text: str) -> str:
    """On one line, and nothing in it that a terminal would obey."""
    line = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text).split())
    return line if len(line) <= _MAX_WORDS else f"{line[:_MAX_WORDS]}..."
