"""Log files of a site's processes: one per start, no secrets in them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from balsam.runtime.settings import LoggingSettings

HIDDEN = "[hidden]"
_BEARER = re.compile(r"(bearer\s+)[\w.~+/=-]+", re.IGNORECASE)


class DiscreetFormatter(logging.Formatter):
    """Formats records without the secrets that it was given, and without anything after `Bearer`."""

    def __init__(self, format: str, datefmt: str, secrets: Iterable[str] = ()) -> None:
        super().__init__(format, datefmt)
        self._secrets = [secret for secret in secrets if secret]

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return _BEARER.sub(rf"\1{HIDDEN}", text)


def new_log_path(folder: Path, kind: str, now: datetime | None = None) -> Path:
    """`service_2026-01-31_235959.log` in `folder`, by local time as people read it."""
    return folder / f"{kind}_{(now or datetime.now()):%Y-%m-%d_%H%M%S}.log"


def log_to(path: Path, settings: LoggingSettings, secrets: Iterable[str] = ()) -> logging.Handler:
    """Sends everything that this process logs to a file from now on."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(DiscreetFormatter(settings.format, settings.datefmt, secrets))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(settings.level)
    for chatty in ("httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return handler


def last_lines(path: Path, count: int = 20) -> str:
    """The end of a text file, for people; empty if there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 64_000))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(lines[-count:])
