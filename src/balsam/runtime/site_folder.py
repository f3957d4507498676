"""A site's folder: what is where in it, how one is made, how one is found.

SiteFolderError
├── NoSiteHere     a folder that is no site
└── FolderInUse    a place where no new site can be made
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import yaml

from balsam.client.login import SITE_FILE, SITE_TOKEN_FILE, Login, find_site_path, load_site_login
from balsam.client.transport import Client
from balsam.platform.machine import load_machine
from balsam.runtime.settings import Settings, refuse_unserved
from balsam.runtime.settings_of_machine import settings_of_machine
from balsam.sdk.api_client import ApiClient

SETTINGS_FILE = "settings.yml"
TEMPLATE_FILE = "job-template.sh"
MOVES_FILES = False  # no service of this release stages files in and out
PID_FILE = "balsam-service.pid"
LABEL_FILE = ".balsam-label"  # what tells this site's allocations from those of others
PARTS = (SITE_FILE, SITE_TOKEN_FILE, SETTINGS_FILE, TEMPLATE_FILE, "data", "log", "qsubmit")


class SiteFolderError(Exception):
    """A folder that can't be used as asked; one sentence with the path and the remedy."""


class NoSiteHere(SiteFolderError, FileNotFoundError):
    """As published, also what a file that is missing raises."""


class FolderInUse(SiteFolderError):
    pass


class SiteFolder:
    """One site on disk. Nothing is read before it is asked for; raises NoSiteHere if `path` is no site."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()
        if not (self.path / SITE_FILE).is_file():
            raise NoSiteHere(
                f"{self.path} is no Balsam site: make one with `balsam site init {self.path}`, or, if it was "
                "moved, go to its new folder"
            )

    @classmethod
    def find(cls, start: Path | None = None) -> Self | None:
        """The site of $BALSAM_SITE_PATH, or the nearest one above `start` (the working directory)."""
        path = find_site_path(start)
        return None if path is None else cls(path)

    def __repr__(self) -> str:
        return f"SiteFolder({str(self.path)!r})"

    @cached_property
    def site_id(self) -> int:
        text = (self.path / SITE_FILE).read_text()
        try:
            return int(text)
        except ValueError as exc:
            raise NoSiteHere(f"{self.path / SITE_FILE} should hold the site's id, not {text!r}") from exc

    @cached_property
    def login(self) -> Login:
        """The server and the site's own token."""
        login = load_site_login(self.path)
        if login is None:
            raise NoSiteHere(
                f"{self.path / SITE_TOKEN_FILE} is missing: run `balsam site token renew` in {self.path}"
            )
        return login

    @property
    def token(self) -> str | None:
        return self.login.token

    @cached_property
    def settings(self) -> Settings:
        """The content of settings.yml; raises InvalidSettings."""
        return Settings.load(self.settings_path)

    @property
    def settings_path(self) -> Path:
        return self.path / SETTINGS_FILE

    @property
    def data_path(self) -> Path:
        """Holds the jobs' workdirs."""
        return self.path / "data"

    @property
    def log_path(self) -> Path:
        return self.path / "log"

    @property
    def spool_path(self) -> Path:
        """Holds what launchers have to report."""
        return self.log_path / "spool"

    @property
    def job_path(self) -> Path:
        """Holds allocations: their scripts, outputs and records."""
        return self.path / "qsubmit"

    @property
    def pid_path(self) -> Path:
        return self.path / PID_FILE

    @property
    def agent_session_path(self) -> Path:
        """Holds the id of the running agent's session."""
        return self.job_path / "agent-session"

    @property
    def template_path(self) -> Path:
        """The job template that settings.yml names."""
        scheduler = self.settings.scheduler
        return self.path / (scheduler.job_template_path if scheduler else TEMPLATE_FILE)

    def client(
        self, *, retry_sec: float = 30.0, outage_sec: float | None = None, timeout_sec: float | None = None
    ) -> ApiClient:
        """A new connection to the site's server with the site's token.

        `timeout_sec`: for connecting and for each answer, in place of the login file's.
        """
        login = self.login
        return ApiClient(
            login.api_root,
            login.token,
            ca_file=login.ca_file,
            connect_timeout=timeout_sec or login.connect_timeout,
            read_timeout=timeout_sec or login.read_timeout,
            retry_sec=retry_sec,
            outage_sec=outage_sec,
        )


def unusable(exc: OSError) -> str:
    """For whoever can't begin without the site's folder, on a full disk for example."""
    where = f" ({exc.filename})" if exc.filename else ""
    return f"the site's folder can't be used: {exc.strerror or exc}{where}"


def identity_of(path: Path) -> str:
    """What makes a folder this one, however its path is spelled: device and inode. Raises OSError."""
    found = path.stat()
    return f"{found.st_dev}:{found.st_ino}"


def refuse_used_folder(path: Path) -> None:
    """Raises FolderInUse where no new site can be made; leaves everything as it is."""
    path = path.absolute()
    if (path / SITE_FILE).exists():
        raise FolderInUse(f"{path} is a Balsam site already: its settings are in {path / SETTINGS_FILE}")
    above = find_site_path(path.parent)
    if above is not None:
        raise FolderInUse(f"{path} lies inside the Balsam site {above}: choose a folder outside of it")
    if path.exists() and not path.is_dir():
        raise FolderInUse(f"{path} is a file: choose the path of a folder")
    taken = [part for part in PARTS if (path / part).exists()]
    if taken:
        raise FolderInUse(f"{path} holds {', '.join(taken)} already: choose another folder")


def create_site_folder(
    path: Path, name: str, client: Client, *, ca_file: str | None = None, machine: str = "local"
) -> SiteFolder:
    """Makes a site: its record on the server, its token and its folder; all of it or nothing.

    Raises FolderInUse, platform's UnknownMachine, OSError, or what the server says (a taken name).
    """
    path = path.absolute()
    refuse_used_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        _fill(draft, machine)
        site_id = _enter(path, name, client, draft / SETTINGS_FILE)
        try:
            token = client.post("/auth/site-tokens", {"site_id": site_id})["token"]
            _identify(draft, site_id, Login(client.api_root, token, ca_file=ca_file or client.ca_file))
            with _alone_in(path.parent):
                refuse_used_folder(path)  # somebody else may have been quicker
                _move_in(draft, path)
        except BaseException:  # an interrupt, too, must not leave half a site
            client.delete(f"/sites/{site_id}")
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return SiteFolder(path)


def renew_token(folder: SiteFolder, client: Client, *, ca_file: str | None = None) -> None:
    """Gives the site another token, and the address of the client's server. What runs keeps the old one."""
    token = client.post("/auth/site-tokens", {"site_id": folder.site_id})["token"]
    draft = folder.path / f"{SITE_TOKEN_FILE}.{os.getpid()}"
    _write_token(draft, folder.site_id, Login(client.api_root, token, ca_file=ca_file or client.ca_file))
    draft.replace(folder.path / SITE_TOKEN_FILE)


def publish_settings(folder: SiteFolder) -> dict[str, Any]:
    """Tells the server what settings.yml allows, as the agent does at its start; the fields that it told.

    Raises InvalidSettings, or what the server says.
    """
    refuse_unserved(folder.settings_path, folder.settings)
    facts = site_facts(folder.settings)
    with folder.client() as client:
        client.put(f"/sites/{folder.site_id}", facts)
    return facts


def _enter(path: Path, name: str, client: Client, settings: Path) -> int:
    record = {"name": name, "path": str(path), **site_facts(Settings.load(settings))}
    return int(client.post("/sites/", record)["id"])


def site_facts(settings: Settings) -> dict[str, Any]:
    """What the server is told of a site's settings: fields of the site's record."""
    facts: dict[str, Any] = {"moves_files": MOVES_FILES}
    if settings.scheduler is not None:
        facts["allowed_projects"] = settings.scheduler.allowed_projects
        facts["allowed_queues"] = {k: q.model_dump() for k, q in settings.scheduler.allowed_queues.items()}
        facts["optional_batch_job_params"] = settings.scheduler.optional_batch_job_params
    if settings.transfers is not None:
        endpoint = settings.transfers.globus_endpoint_id
        facts["transfer_locations"] = settings.transfers.transfer_locations
        facts["globus_endpoint_id"] = str(endpoint) if endpoint else None
    return facts


def _fill(folder: Path, machine: str) -> None:
    _write(folder / SETTINGS_FILE, new_settings_text(machine), 0o600)
    _write(folder / TEMPLATE_FILE, load_machine(machine).job_template, 0o700)
    for part, mode in (("data", 0o755), ("log", 0o755), ("qsubmit", 0o700)):
        (folder / part).mkdir()
        (folder / part).chmod(mode)


def new_settings_text(machine: str) -> str:
    """The commented settings.yml of a new site on this machine."""
    return settings_of_machine(load_machine(machine))


def _identify(folder: Path, site_id: int, login: Login) -> None:
    _write_token(folder / SITE_TOKEN_FILE, site_id, login)
    _write(folder / SITE_FILE, str(site_id), 0o440)


def _write_token(path: Path, site_id: int, login: Login) -> None:
    token = {"api_root": login.api_root, "site_id": site_id, "token": login.token}
    if login.ca_file:
        token["ca_file"] = login.ca_file
    _write(path, yaml.safe_dump(token, sort_keys=False), 0o600)


def _write(path: Path, text: str, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "w") as file:
        file.write(text)
    path.chmod(mode)  # whatever the umask took away


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One site at a time is put into a folder; where folders can't be locked, nobody waits."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _move_in(draft: Path, path: Path) -> None:
    """Puts the finished folder in its place; an existing folder gets the parts, the site's mark last."""
    draft.chmod(0o755)
    if not path.exists():
        draft.rename(path)
        return
    moved: list[Path] = []
    try:
        for part in sorted(PARTS, key=lambda part: part == SITE_FILE):
            (draft / part).rename(path / part)
            moved.append(path / part)
    except OSError:
        for done in moved:
            shutil.rmtree(done) if done.is_dir() else done.unlink()
        raise
