"""Who is trusted with a request, and in words why a server was not."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from balsam.core.proxies import is_local

REMEDY_OF_AUTHORITY = (
    "if a private authority signed its certificate, name that authority's certificates with `--ca-file FILE` "
    "of `balsam login`"
)


def verification(api_root: str, ca_file: str | Path | None) -> ssl.SSLContext:
    """What the HTTP library verifies with; raises OSError with a sentence for a file that is no use."""
    if ca_file:
        return _of_file(Path(ca_file), f"--ca-file {ca_file}")
    if api_root.startswith("http://"):
        # Trusts nobody: without TLS there is nothing to verify, and reading all authorities takes 0.1 s.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    chosen = os.environ.get("SSL_CERT_FILE")
    return _of_file(Path(chosen), f"SSL_CERT_FILE {chosen}") if chosen else httpx.create_ssl_context()


def _of_file(ca_file: Path, named: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except ssl.SSLError as exc:
        raise OSError(f"{named} holds no certificates in PEM form ({exc.reason})") from exc
    except OSError as exc:
        raise OSError(f"{named} can't be read: {exc.strerror}") from exc


def is_readable(api_root: str) -> bool:
    """Whether whoever is on the way to the server can read what is sent there."""
    address = urlsplit(api_root)
    return address.scheme == "http" and not is_local(address.hostname or "")


def remedy(exc: BaseException, api_root: str) -> str | None:
    """What helps where an exception, or one that it came from, is about TLS; None where none is."""
    cause: BaseException | None = exc
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    reason = f"{exc} {cause or ''}"
    if "Hostname mismatch" in reason or "IP address mismatch" in reason:
        return (
            "its certificate is for another name: use the name that it was made for as the server's address"
        )
    if "certificate has expired" in reason:
        return "its certificate, or its authority's, has expired: those who run the server must renew it"
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return REMEDY_OF_AUTHORITY
    if "WRONG_VERSION_NUMBER" in reason or "RECORD_LAYER_FAILURE" in reason:
        plain = f"http://{api_root.partition('://')[2]}"
        others = "" if is_local(urlsplit(plain).hostname or "") else ", which others on the way can read"
        return (
            "it does not speak TLS at this address: check the port; if it is to be reached without TLS"
            f"{others}, that has to be said: `balsam login -u {plain}`"
        )
    if cause is not None:
        return "no secure connection to it could be made: check its address and its certificate"
    return None
