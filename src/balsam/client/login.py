"""The login file: which server, with which token. Private to its owner, replaced in one piece."""

from __future__ import annotations

import os
import pwd
import re
import tempfile
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from balsam.client.address import address_of
from balsam.client.errors import BrokenLogin, NoHome
from balsam.core.clock import UtcDatetime

if TYPE_CHECKING:
    from balsam.client.transport import Client

CLIENT_CLASS = "balsam.client.BasicAuthRequestsClient"  # what the published client looks for
PUBLISHED = frozenset({"api_root", "client_class", "token", "token_expiry"})
SITE_FILE = ".balsam-site"
SITE_TOKEN_FILE = ".balsam-token.yml"
TOKEN = re.compile(r"[!-~]*( [!-~]+)*")  # what a header can carry


@dataclass(frozen=True)
class Login:
    """Where the server is and what opens it; `token_expiry` is UTC."""

    api_root: str
    token: str | None = None
    token_expiry: datetime | None = None
    connect_timeout: float = 6.2
    read_timeout: float = 120.0
    retry_count: int = 10
    client_class: str = CLIENT_CLASS
    ca_file: str | None = None
    refresh_token: str | None = None  # renews the token; never shown in logs or messages
    username: str | None = None

    def client(
        self,
        path: Path | None = None,
        *,
        retry_sec: float = 30.0,
        outage_sec: float | None = None,
        kind: type[Client] | None = None,
    ) -> Client:
        """A new connection with this login; `path` is the file that it stands in and is renewed in.

        `kind`: a subclass of Client to make it of.
        """
        from balsam.client.credentials import FixedToken, SharedLogin
        from balsam.client.transport import Client

        return (kind or Client)(
            self.api_root,
            credentials=SharedLogin(path, self) if path is not None else FixedToken(self.token),
            ca_file=self.ca_file,
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout,
            retry_sec=retry_sec,
            outage_sec=outage_sec,
        )

    def is_of_same_user(self, other: Login) -> bool:
        """Whether whoever began with one login may go on with the other."""
        return (self.api_root, self.username) == (other.api_root, other.username)

    def is_renewal_of(self, other: Login) -> bool:
        """Whether this is the same login with the same connection, only with other tokens perhaps."""
        if self.refresh_token is None or other.refresh_token is None:
            return self == other
        tokens: dict[str, Any] = {"token": None, "token_expiry": None, "refresh_token": None}
        return replace(self, **tokens) == replace(other, **tokens)

    def __repr__(self) -> str:
        return f"Login({self.api_root!r}, username={self.username!r})"


def home() -> Path:
    """The folder of the user's own files: `~/.balsam`; raises NoHome."""
    # An empty HOME would be taken for the working directory.
    set_to = os.environ.get("HOME")
    try:
        found = Path.home() if set_to is None or set_to else Path(pwd.getpwuid(os.getuid()).pw_dir)
    except (RuntimeError, KeyError):
        raise NoHome from None
    return found / ".balsam"


def login_path() -> Path:
    """`$BALSAM_CLIENT_PATH`, or `client.yml` in the user's Balsam folder."""
    chosen = os.environ.get("BALSAM_CLIENT_PATH")
    return _expanded(chosen) if chosen else home() / "client.yml"


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # a `~` without a home
        raise NoHome from None


def load_login(path: Path | None = None) -> Login | None:
    """The stored login, or None when there is no file; BrokenLogin names a file that is none."""
    return _load(path or login_path(), "run `balsam login -f` to write a new one")


def save_login(login: Login, path: Path | None = None) -> None:
    """Stores the login for its owner alone; a reader sees the old file or the new, never a part."""
    import yaml

    path = path or login_path()
    # A published client refuses a file with names that it does not know, so unset ones are left out.
    content = {name: value for name, value in asdict(login).items() if value is not None or name in PUBLISHED}
    if login.token_expiry is not None:
        # Naive UTC, as the published client reads and writes it.
        expiry = UtcDatetime.of(login.token_expiry)
        content["token_expiry"] = datetime(*expiry.timetuple()[:6], expiry.microsecond)
    _replace_private(path, yaml.safe_dump(content, sort_keys=True))


def find_site_path(start: Path | None = None) -> Path | None:
    """The site folder: `$BALSAM_SITE_PATH`, or the nearest one above `start` (the working directory)."""
    chosen = os.environ.get("BALSAM_SITE_PATH")
    if chosen and start is None:
        return Path(chosen)
    here = (start or Path.cwd()).resolve()
    return next((folder for folder in (here, *here.parents) if (folder / SITE_FILE).is_file()), None)


def load_site_login(site_path: Path) -> Login | None:
    """The token that a site folder holds, or None; BrokenLogin names a file that is none."""
    return _load(
        site_path / SITE_TOKEN_FILE, "run `balsam site token renew` in the site's folder to write a new one"
    )


def _load(path: Path, remedy: str) -> Login | None:
    try:
        return _login_of(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise BrokenLogin(path, f"it can't be read: {exc.strerror}", "make it your own") from exc
    except ValueError as exc:
        raise BrokenLogin(path, str(exc), remedy) from exc


def _login_of(text: str) -> Login:
    """Raises ValueError with what is wrong."""
    known = _known(text)
    if isinstance(known.get("token_expiry"), datetime):
        known["token_expiry"] = UtcDatetime.of(known["token_expiry"])
    for name in ("api_root", "token", "ca_file", "refresh_token", "username"):
        if not isinstance(known.get(name), str | None):
            raise ValueError(f"{name} is no text")
    if not known["api_root"].startswith(("http://", "https://")):
        raise ValueError("api_root is no URL")
    address_of(known["api_root"])
    if not all(TOKEN.fullmatch(known.get(name) or "") for name in ("token", "refresh_token")):
        raise ValueError("its token has characters that no token has")
    for name in ("connect_timeout", "read_timeout"):
        if not isinstance(known.get(name, 1.0), int | float):
            raise ValueError(f"{name} is no number")
    return Login(**known)


def _known(text: str) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise ValueError("it is not YAML") from exc
    if not isinstance(content, dict) or content.get("api_root") is None:
        raise ValueError("it names no api_root")
    return {field.name: content[field.name] for field in fields(Login) if field.name in content}


def _replace_private(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A name of its own: on a shared filesystem, processes of two machines may have the same id.
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
