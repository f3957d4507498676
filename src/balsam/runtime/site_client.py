"""The site's client for user code in a worker: made when it is first used, for most runs never use it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from balsam.client.retry import OUTAGE_SEC
from balsam.core.forks import renew_in_children

if TYPE_CHECKING:
    from balsam.client.transport import Client


class LazyClient:
    """Stands for a `Client` of the site folder; the HTTP library is loaded at the first request."""

    def __init__(self, site_path: Path) -> None:
        self.key = uuid4().hex
        self._site_path = site_path
        self._lock = threading.Lock()
        self._client: Client | None = None
        renew_in_children(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()

    def _made(self) -> Client:
        from balsam.runtime.site_folder import SiteFolder

        with self._lock:
            if self._client is None:
                self._client = SiteFolder(self._site_path).client(outage_sec=OUTAGE_SEC)
            return self._client

    def rest(self) -> None:
        """Closes what is open; the next request opens anew."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made(), name)


def lazy_client(site_path: Path) -> tuple[Client, Callable[[], None]]:
    """A client of the site whose folder this is, and what closes it for a while.

    Raises NoSiteHere at its first use if there is no site.
    """
    lazy = LazyClient(site_path)
    return cast("Client", lazy), lazy.rest
