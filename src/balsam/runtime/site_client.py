"""The site's client for user code in a worker: made when it is first used, for most runs never use it."""

from __future__ import annotations

import threading
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

    def __getattr__(self, name: str) -> Any:
        with self._lock:
            client = self._client
        return getattr(client, name)


def lazy_client(site_path: Path) -> Client:
    """A client of the site whose folder this is; raises NoSiteHere at its first use if it is none."""
    return cast("Client", LazyClient(site_path))
