"""What an operator can choose, and where it is read from."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from balsam.core.errors import InvalidSettings
from balsam.core.limits import LEASE_SEC, MAX_BODY_BYTES, TOKEN_TTL_SEC, VOUCHED_LEASE_SEC

SETTINGS_FILE = "server.yml"
# Names under which the published server reads the same.
PUBLISHED_NAMES = {"BALSAM_AUTH_TOKEN_TTL": "token_ttl_sec"}


def _words(value: object) -> object:
    """`a, b` as a list: how the environment holds one."""
    return value.replace(",", " ").split() if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Seconds = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`owner`: the one user of an embedded server; None where users register and log in with a password."""

    __pydantic_config__ = {"extra": "forbid"}

    database_url: str
    owner: str | None = None
    registration: bool = True
    token_ttl_sec: Seconds = TOKEN_TTL_SEC
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

    @classmethod
    def embedded(cls, data: Path, owner: str, *, accounts: bool = False) -> ServerSettings:
        return cls(database_url=f"sqlite:///{data / 'balsam.db'}", owner=owner, registration=accounts)

    @property
    def database_pool(self) -> int:
        """Connections that a worker keeps for each of reading and writing PostgreSQL; twice that at a peak.

        All workers, and one more while they are replaced, stay below PostgreSQL's own limit of 100.
        """
        return min(8, max(1, 16 // self.workers))


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
        return _READER.validate_python(found)
    except ValidationError as exc:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors())
        raise InvalidSettings(f"settings of the server are wrong: {wrong}") from None


def _of_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    names = {f"BALSAM_{name.upper()}": name for name in NAMES} | PUBLISHED_NAMES
    return {name: environment[variable] for variable, name in names.items() if environment.get(variable)}


def _of_file(file: Path) -> dict[str, Any]:
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise InvalidSettings(f"{file} may hold secrets and others can read it: run chmod 600 {file}")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError):
        raise InvalidSettings(f"{file} is not YAML") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InvalidSettings(f"{file} holds no settings: lines like `workers: 4` are expected")
    return content


_READER = TypeAdapter(ServerSettings)
