"""What an operator can choose, and where it is read from."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from balsam.core.alerts import PLAIN_MAIL
from balsam.core.errors import Invalid, InvalidSettings
from balsam.core.limits import (
    LEASE_SEC,
    LOGIN_TTL_SEC,
    MAX_BODY_BYTES,
    REGISTRATION_SEC,
    REGISTRATIONS_AT_ONCE,
    SHORT_TOKEN_TTL_SEC,
    TOKEN_TTL_SEC,
    VOUCHED_LEASE_SEC,
)
from balsam.core.logins import LoginMethod
from balsam.server.addresses import Reach

DATABASE = "balsam.db"  # in the folder of an embedded server
SETTINGS_FILE = "server.yml"
# Names under which the published server reads the same.
PUBLISHED_NAMES = {
    "BALSAM_AUTH_TOKEN_TTL": "token_ttl_sec",
    "BALSAM_AUTH_LOGIN_METHODS": "login_methods",
}


def _words(value: object) -> object:
    """`a, b` as a list: how the environment holds one."""
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _methods(value: object) -> object:
    """Words, or a JSON list of them, as the published server takes them."""
    if isinstance(value, str):
        value = value.strip("[] ").replace('"', " ").replace("'", " ")
    words = _words(value)
    return [str(word).removeprefix("LoginMethod.") for word in words] if isinstance(words, list) else words


def _seconds(value: object) -> object:
    """A number, or a duration in words (`2 days`, `P2D`, `48:00:00`) as the published server takes them."""
    if not isinstance(value, str) or value.replace(".", "", 1).isdigit():
        return value
    return _DURATION.validate_python(value).total_seconds()


_DURATION = TypeAdapter(timedelta)
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Seconds = Annotated[float, Field(gt=0), BeforeValidator(_seconds)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s?#]+$")]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`owner`: the one user of an embedded server; None where users register and log in with a password."""

    __pydantic_config__ = {"extra": "forbid"}

    database_url: str = field(repr=False)  # it may hold a password
    owner: str | None = None
    registration: bool = True
    # From one address: so many at once, then one every so many seconds.
    registration_burst: Annotated[int, Field(ge=1, le=1_000_000)] = REGISTRATIONS_AT_ONCE
    registration_every_sec: Seconds = REGISTRATION_SEC
    public_url: Url | None = None  # what users call the server; None: what their requests name
    token_ttl_sec: Seconds = TOKEN_TTL_SEC
    short_token_ttl_sec: Seconds = SHORT_TOKEN_TTL_SEC  # of clients that renew it
    login_ttl_sec: Seconds = LOGIN_TTL_SEC  # of a renewable login that nobody uses
    # (): by password, and in both other ways where a provider is named.
    login_methods: Annotated[tuple[LoginMethod, ...], BeforeValidator(_methods)] = ()
    oauth_issuer: Url | None = None
    oauth_client_id: str = ""
    oauth_client_secret: str = field(default="", repr=False)
    oauth_client_secret_file: Path | None = None
    oauth_scope: str = "openid profile email"
    oauth_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] = "oidc"  # in the callback's path
    oauth_username_claim: str = "preferred_username"
    oauth_require: Words = ()  # claim=value: who may log in; all of them, `claim=a` also where it is a list
    lease_sec: Seconds = LEASE_SEC
    vouched_lease_sec: Seconds = VOUCHED_LEASE_SEC
    max_body_bytes: int = MAX_BODY_BYTES
    beat_sec: Seconds = 15.0  # how often a stream says that it is alive

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    root_path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)*$")] = ""  # below which a proxy shows it
    trusted_proxies: Words = ()  # whose X-Forwarded-For and -Proto are believed
    stop_sec: Seconds = 20.0  # how long requests may go on when the server stops
    hsts_sec: Annotated[int, Field(ge=0)] = 0  # Strict-Transport-Security; 0: not sent

    log_dir: Path | None = None  # None: standard error
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    access_log: bool = False
    slow_statement_sec: Annotated[float, Field(ge=0)] = 1.0  # 0: no statement is logged
    metrics_from: Words = ("127.0.0.1", "::1")  # addresses that may read /metrics
    metrics_token_file: Path | None = None  # or whoever sends this token

    # How often rules are looked at, and the first pause after a message that was not taken.
    alert_sec: Seconds = 60.0
    alert_retry_sec: Seconds = 30.0
    alert_timeout_sec: Annotated[float, Field(gt=0, le=60)] = 10.0
    alert_hosts: Words = ()  # hosts and networks that webhooks may be in though they are not public
    alert_ca_file: Path | None = None  # certificates of a private authority, for webhooks and mail
    mail_host: str = ""  # "": no mail is sent
    mail_port: Annotated[int, Field(ge=1, le=65535)] = 587
    mail_security: Literal["starttls", "tls", "none"] = "starttls"
    mail_user: str = ""
    mail_password_file: Path | None = None
    mail_from: str = ""
    mail_domains: Words = ()  # of those who may be written to; (): all

    @property
    def is_sqlite(self) -> bool:
        return self.database_url.startswith("sqlite")

    @classmethod
    def embedded(cls, data: Path, owner: str, *, accounts: bool = False) -> ServerSettings:
        return cls(database_url=f"sqlite:///{data / DATABASE}", owner=owner, registration=accounts)

    @property
    def database_pool(self) -> int:
        """Connections that a worker keeps for each of reading and writing PostgreSQL; twice that at a peak.

        All workers, and one more while they are replaced, stay below PostgreSQL's own limit of 100.
        """
        return min(8, max(1, 16 // self.workers))

    @property
    def offered_methods(self) -> tuple[LoginMethod, ...]:
        """How users can log in."""
        if self.login_methods:
            return self.login_methods
        return tuple(LoginMethod) if self.oauth_issuer else (LoginMethod.PASSWORD,)

    def client_secret(self) -> str:
        """What shows the login provider that this is its client; empty for a client without one."""
        if self.oauth_client_secret_file is None:
            return self.oauth_client_secret
        return _private_text(self.oauth_client_secret_file).strip()

    @property
    def is_of_one_user(self) -> bool:
        return self.owner is not None and not self.registration

    def mail_password(self) -> str:
        return "" if self.mail_password_file is None else _private_text(self.mail_password_file).strip()

    def metrics_token(self) -> str:
        """What opens /metrics from anywhere; empty where nothing does."""
        return "" if self.metrics_token_file is None else _private_text(self.metrics_token_file).strip()


NAMES = frozenset(field.name for field in fields(ServerSettings))


def load(environment: Mapping[str, str], file: Path | None, **given: Any) -> ServerSettings:
    """The settings of a deployed server: `given`, then the environment, then the file, then defaults.

    A variable is named `BALSAM_` and the setting's name in capitals. The file is YAML and its owner's alone,
    since it may hold secrets. Raises InvalidSettings, which never shows a value.
    """
    found = _of_file(file) if file is not None else {}
    found |= _of_environment(environment) | given
    if "database_url" not in found:
        raise InvalidSettings(
            "no database is named: set BALSAM_DATABASE_URL (postgresql://...), or database_url in "
            f"{file or 'a settings file'}"
        )
    try:
        settings = _READER.validate_python(found)
    except ValidationError as exc:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors())
        raise InvalidSettings(f"settings of the server are wrong: {wrong}") from None
    _check_logins(settings)
    settings.metrics_token()
    _check_alerts(settings)
    return settings


def _check_alerts(settings: ServerSettings) -> None:
    try:
        Reach.of(False, settings.alert_hosts)
    except Invalid as exc:
        raise InvalidSettings(exc.sentence) from None
    if settings.alert_ca_file is not None and not settings.alert_ca_file.is_file():
        raise InvalidSettings(f"alert_ca_file: there is no file {settings.alert_ca_file}")
    if not settings.mail_host:
        return
    if not PLAIN_MAIL.fullmatch(settings.mail_from):
        raise InvalidSettings("mail_host needs mail_from, one plain address such as balsam@example.org")
    if settings.mail_user and settings.mail_security == "none":
        raise InvalidSettings("mail_security none would send mail_user's password for anybody to read")
    if bool(settings.mail_user) != (settings.mail_password_file is not None):
        raise InvalidSettings("mail_user and mail_password_file belong together")
    settings.mail_password()


def _check_logins(settings: ServerSettings) -> None:
    by_browser = {LoginMethod.DEVICE, LoginMethod.BROWSER} & set(settings.offered_methods)
    if not by_browser:
        return
    if not settings.oauth_issuer or not settings.oauth_client_id:
        raise InvalidSettings(
            f"{', '.join(sorted(by_browser))} needs a login provider: set BALSAM_OAUTH_ISSUER and "
            "BALSAM_OAUTH_CLIENT_ID"
        )
    issuer = urlsplit(settings.oauth_issuer)
    if issuer.scheme != "https" and issuer.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise InvalidSettings(
            "oauth_issuer must begin with https://, or anybody between could log in as anyone"
        )
    if any("=" not in rule for rule in settings.oauth_require):
        raise InvalidSettings("oauth_require takes claim=value")
    settings.client_secret()


def _of_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    names = {f"BALSAM_{name.upper()}": name for name in NAMES} | PUBLISHED_NAMES
    return {name: environment[variable] for variable, name in names.items() if environment.get(variable)}


def _private_text(file: Path) -> str:
    try:
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise InvalidSettings(f"{file} may hold secrets and others can read it: run chmod 600 {file}")
        return file.read_text(encoding="utf-8")
    except OSError as exc:
        raise InvalidSettings(f"{file} can't be read: {exc.strerror}") from None


def _of_file(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(_private_text(file))
    except (yaml.YAMLError, ValueError):
        raise InvalidSettings(f"{file} is not YAML") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InvalidSettings(f"{file} holds no settings: lines like `workers: 4` are expected")
    return content


_READER = TypeAdapter(ServerSettings)


@dataclass(frozen=True, slots=True)
class Deployment:
    folder: Path
    settings_file: Path | None
    settings: ServerSettings

    @property
    def url(self) -> str:
        """Where it listens; a proxy may show it elsewhere."""
        return f"http://{_host_text(self.settings.host)}:{self.settings.port}{self.settings.root_path}"


def load_deployment(folder: Path, file: Path | None, environment: Mapping[str, str]) -> Deployment:
    """The deployment of a folder; its settings are in `file`, else the folder's server.yml, if any."""
    folder = folder.expanduser().absolute()
    if file is None and (folder / SETTINGS_FILE).exists():
        file = folder / SETTINGS_FILE
    return Deployment(folder, file, load(environment, file))


def _host_text(host: str) -> str:
    return f"[{host}]" if ":" in host else host
