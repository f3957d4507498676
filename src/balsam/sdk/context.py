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

if TYPE_CHECKING:
    from balsam.client.login import Login
    from balsam.client.transport import Client

_of_block: ContextVar[Client | None] = ContextVar("balsam_client", default=None)


class _Defaults:
    """The process's client: chosen by `use_client`, else made from a login file and kept while that stays."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.chosen: Client | None = None
        self.made: Client | None = None
        self.made_from: Login | None = None

    def client(self) -> Client:
        with self.lock:
            if self.chosen is not None:
                return self.chosen
            login = _stored_login()
            if self.made is None or login != self.made_from:
                self.made, self.made_from = login.client(), login
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


def _stored_login() -> Login:
    login = load_login() or _site_login(find_site_path())
    if login is None:
        raise NotLoggedIn(str(login_path()))
    return login


def _site_login(site_path: Path | None) -> Login | None:
    return load_site_login(site_path) if site_path else None
