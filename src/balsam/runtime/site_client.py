"""The site's client for user code in a worker: made when it is first used, for most runs never use it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

if TYPE_CHECKING:
    from balsam.client.transport import Client


class LazyClient:
    """Stands for a `Client` of the site folder; the HTTP library is loaded at the first request."""

    def __init__(self, site_path: Path) -> None:
        self.key = uuid4().hex
        self._site_path = site_path
        self._lock = threading.Lock()

    @cached_property
    def _client(self) -> Client:
        from balsam.runtime.site_folder import SiteFolder

        return SiteFolder(self._site_path).client()

    def rest(self) -> None:
        """Closes what is open; the next request opens anew."""
        with self._lock:
            if (client := vars(self).pop("_client", None)) is not None:
                client.close()

    def __getattr__(self, name: str) -> Any:
        with self._lock:
            client = self._client
        return getattr(client, name)


def lazy_client(site_path: Path) -> tuple[Client, Callable[[], None]]:
    """A client of the site whose folder this is, and what closes it for a while.

    Raises NoSiteHere at its first use if there is no site.
    """
    lazy = LazyClient(site_path)
    return cast("Client", lazy), lazy.rest
