"""A server's address, as people write it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from balsam.client.errors import BadAddress

_ENDS = {"http": ":80", "https": ":443"}


def address_of(text: str) -> str:
    """`https://host[:port][/path]`, each address in one way; https where no scheme is given.

    Raises BadAddress.
    """
    given = text.strip()
    url = given if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", given) else f"https://{given}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise _bad(text, str(exc)) from exc
    if parts.scheme not in _ENDS:
        raise _bad(text, f"{parts.scheme}:// is neither https:// nor http://")
    if parts.username is not None or parts.password is not None:
        raise _bad(text, "a name or password in it would be shown to others; give --username")
    if not re.fullmatch(r"[\w.:%-]+", parts.hostname or ""):
        raise _bad(text, "it names no host")
    if port == 0 or parts.query or parts.fragment or re.search(r"[\s\\]", parts.path):
        raise _bad(text, "beside the host it may have a port and a path only")
    host = parts.netloc.lower().removesuffix(_ENDS[parts.scheme]).removesuffix(":")
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def _bad(text: str, reason: str) -> BadAddress:
    return BadAddress(f"{text!r} is no address of a server ({reason}): write it as https://HOST or HOST:PORT")
