"""Which client `Job.objects` and the like use when no other was named."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from balsam.client.errors import NotLoggedIn
from balsam.client.login import find_site_path, load_login, load_site_login, login_path
from balsam.client.retry import OUTAGE_SEC
from balsam.core.forks import renew_in_children

if TYPE_CHECKING:
    from balsam.client.login import Login
    from balsam.client.transport import Client

Stamp = tuple[Path, int, int, int]

_of_block: ContextVar[Client | None] = ContextVar("balsam_client", default=None)


class _Defaults:
    """The process's client: chosen by `use_client`, else made from a login file and kept while that stays."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.chosen: Client | None = None
        self.made: Client | None = None
        self.made_from: Login | None = None
        self.made_at: Stamp | None = None
        renew_in_children(self)

    def after_fork(self) -> None:
        self.lock = threading.Lock()

    def client(self) -> Client:
        with self.lock:
            if self.chosen is not None:
                return self.chosen
            stamp = _stamp(login_path())
            if self.made is not None and stamp is not None and stamp == self.made_at:
                return self.made
            login, path = stored_login()
            if self.made is None or self.made_from is None or not login.is_renewal_of(self.made_from):
                from balsam.sdk.api_client import ApiClient  # and with it the HTTP library

                self.made = login.client(path, outage_sec=OUTAGE_SEC, kind=ApiClient)
            self.made_from, self.made_at = login, stamp
            return self.made


_defaults = _Defaults()


def default_client() -> Client:
    """The client of the current `session` block, else the process's; raises NotLoggedIn.

    The process's is the one given to `use_client`, else the user's login file, else the token of the
    site folder that the process works in.
    """
    return _of_block.get() or _defaults.client()


class use_client:
    """Makes `client` the process's, from now on; in a `with`, until the end of the block."""

    def __init__(self, client: Client) -> None:
        with _defaults.lock:
            self._before = _defaults.chosen
            _defaults.chosen = client
        self._client = client

    def __enter__(self) -> Client:
        return self._client

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        with _defaults.lock:
            _defaults.chosen = self._before


@contextmanager
def session(client: Client) -> Iterator[Client]:
    """Within the block and its thread, `Job.objects` and the like act through `client`."""
    token = _of_block.set(client)
    try:
        yield client
    finally:
        _of_block.reset(token)


def _stamp(path: Path) -> Stamp | None:
    """What changes when a login file is replaced, so that it is read only then; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return path, found.st_ino, found.st_mtime_ns, found.st_size


def stored_login() -> tuple[Login, Path | None]:
    """The login, and the file that it is renewed in: a site's token is not. Raises NotLoggedIn."""
    path = login_path()
    login = load_login(path)
    if login is not None:
        return login, path
    site_path = find_site_path()
    login = load_site_login(site_path) if site_path else None
    if login is None:
        raise NotLoggedIn(str(path))
    return login, None
