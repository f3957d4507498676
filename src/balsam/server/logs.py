"""The server's log: text or JSON lines, each with the id of the request that it belongs to."""

from __future__ import annotations

import logging
import re
import sys
import uuid
from contextvars import ContextVar
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Protocol

import orjson

from balsam.core.clock import offset_text

LOG_FILE = "server.log"
TEXT = "%(asctime)s %(levelname)s %(process)d %(request_id)s %(name)s: %(message)s"
# What a client may send; anything else could forge lines of the log.
ALLOWED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

request_id: ContextVar[str] = ContextVar("request_id", default="-")


def request_id_from(sent: str | None) -> str:
    """The client's id of a request if it is a plain word, else a fresh one."""
    return sent if sent and ALLOWED_ID.fullmatch(sent) else uuid.uuid4().hex[:16]


class Choice(Protocol):
    """What ServerSettings tell of the log; the supervisor does without the rest of them."""

    @property
    def log_dir(self) -> Path | None: ...
    @property
    def log_level(self) -> str: ...
    @property
    def log_format(self) -> str: ...


def configure(settings: Choice) -> None:
    """All log lines of this process go to `log_dir`/server.log, or to standard error."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if settings.log_dir is not None:
        settings.log_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Looks at each line whether a log rotation has moved the file away.
        handler = WatchedFileHandler(settings.log_dir / LOG_FILE)
    handler.addFilter(_add_request_id)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _add_request_id(record: logging.LogRecord) -> bool:
    record.request_id = request_id.get()
    return True


class JsonLines(logging.Formatter):
    """One JSON object a line; `extra={"facts": {...}}` of a call becomes keys of its own."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": offset_text(int(record.created * 1e6)),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "request_id": getattr(record, "request_id", "-"),
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()
