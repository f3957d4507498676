"""Settings of this machine's user and of a site, under the names that published scripts import."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from balsam.client.errors import NotLoggedIn
from balsam.client.login import CLIENT_CLASS, Login, find_site_path, home, load_login, login_path, save_login
from balsam.client.retry import OUTAGE_SEC

if TYPE_CHECKING:
    from balsam.runtime.settings import InvalidSettings, Settings
    from balsam.sdk.api_client import ApiClient

__all__ = ["ClientSettings", "InvalidSettings", "Settings", "SiteConfig", "balsam_home"]


def balsam_home() -> Path:
    """The folder of the user's own files, `~/.balsam`; made if need be, private."""
    folder = home()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@dataclass
class ClientSettings:
    """The login file: which server, with which token."""

    api_root: str
    client_class: str = CLIENT_CLASS
    token: str | None = None
    token_expiry: datetime | None = None
    connect_timeout: float = 6.2
    read_timeout: float = 120.0
    retry_count: int = 10
    ca_file: str | None = None
    refresh_token: str | None = field(default=None, repr=False)
    username: str | None = None

    @staticmethod
    def settings_path() -> Path:
        """Where the login file is: `$BALSAM_CLIENT_PATH` or `~/.balsam/client.yml`."""
        return login_path()

    @classmethod
    def load_from_file(cls) -> Self:
        """The stored login; raises NotLoggedIn or BrokenLogin."""
        login = load_login()
        if login is None:
            raise NotLoggedIn(str(login_path()))
        return cls(**vars(login))

    def save_to_file(self) -> None:
        """Stores the login, private to its owner."""
        save_login(self._login())

    def dict(self) -> Mapping[str, Any]:
        """All fields by name."""
        return dict(vars(self))

    def build_client(self) -> ApiClient:
        """A new connection with these settings."""
        from balsam.sdk.api_client import ApiClient

        path = login_path() if self.refresh_token else None
        return cast("ApiClient", self._login().client(path, outage_sec=OUTAGE_SEC, kind=ApiClient))

    def _login(self) -> Login:
        return Login(**vars(self))


class SiteConfig:
    """A site's folder and settings.

    `site_path`: by default `$BALSAM_SITE_PATH` or the site folder around the working directory;
    `settings`: by default the site's settings.yml.
    """

    def __init__(self, site_path: str | Path | None = None, settings: Settings | None = None) -> None:
        from balsam.runtime.site_folder import SiteFolder

        self.folder = SiteFolder(self._site_path(site_path))
        self.site_path = self.folder.path
        self.site_id = self.folder.site_id
        self.settings = settings or self.folder.settings
        self.data_path = self.folder.data_path
        self.job_path = self.folder.job_path
        self.log_path = self.folder.log_path
        self.apps_path = self.folder.path / "apps"
        self._client: ApiClient | None = None

    @property
    def client(self) -> ApiClient:
        """A connection with the site's own token."""
        if self._client is None:
            self._client = self.folder.client(outage_sec=OUTAGE_SEC)
        return self._client

    @staticmethod
    def resolve_site_path(site_path: str | Path | None = None) -> tuple[Path, int]:
        """The path of a site folder, and the site's id; raises ValueError where there is none."""
        from balsam.runtime.site_folder import SiteFolder

        path = SiteConfig._site_path(site_path)
        return path, SiteFolder(path).site_id

    @staticmethod
    def _site_path(site_path: str | Path | None) -> Path:
        found = Path(site_path).expanduser().resolve() if site_path else SiteConfig.search_site_dir()
        if found is None:
            raise ValueError(
                "there is no site here: change into a site folder, or set BALSAM_SITE_PATH to its path"
            )
        return found

    @staticmethod
    def search_site_dir() -> Path | None:
        """The site folder of `$BALSAM_SITE_PATH` or around the working directory, or None."""
        return find_site_path()

    def update_site_from_config(self) -> None:
        """Tells the server what the site's settings say of queues, projects and transfers."""
        from balsam.runtime.site_folder import site_facts
        from balsam.sdk.sites import Site

        site = Site.objects.using(self.client).get(id=self.site_id)
        site.path = self.site_path
        for name, value in site_facts(self.settings).items():
            setattr(site, name, value)
        site.save()

    def enable_logging(self, basename: str, filename: str | Path | None = None) -> dict[str, Any]:
        """Log lines of this process go to a file in the site's log folder: `filename` in what is answered."""
        stamp = datetime.now().strftime("%Y-%m-%d_%H%M%S")
        path = Path(filename) if filename else self.log_path / f"{basename}_{stamp}.log"
        told = self.settings.logging
        handler = logging.FileHandler(path)
        handler.setFormatter(logging.Formatter(told.format, told.datefmt))
        root = logging.getLogger("balsam")
        root.setLevel(told.level)
        root.addHandler(handler)
        return {"filename": str(path), **told.model_dump()}


def current_site_config() -> SiteConfig | None:
    """The site that this process works in, or None."""
    path = find_site_path()
    return None if path is None else SiteConfig(path)


def __getattr__(name: str) -> Any:
    if name in ("InvalidSettings", "Settings"):
        from balsam.runtime import settings

        return getattr(settings, name)
    raise AttributeError(f"module 'balsam.config' has no attribute {name!r}")
