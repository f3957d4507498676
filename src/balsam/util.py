"""Small things that scripts for Balsam 0.7 import; nothing of Balsam uses them."""

from __future__ import annotations

import logging
import signal
import threading
from datetime import UTC, datetime
from types import FrameType
from zoneinfo import ZoneInfo

__all__ = ["SigHandler", "config_root_logger", "parse_to_utc", "validate_log_level"]


class SigHandler:
    """Is set by SIGINT and SIGTERM, from its making on."""

    def __init__(self) -> None:
        self._event = threading.Event()
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        self._event.set()

    def wait_until_exit(self, timeout: float | None = None) -> bool:
        """Whether it is set, after `timeout` seconds at most."""
        return self._event.wait(timeout)


def validate_log_level(level: str | int) -> int:
    """The number of a level that is given by name or number; raises ValueError."""
    if isinstance(level, int):
        return level
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(
            f"{level!r} is no level of logging: write one of DEBUG, INFO, WARNING, ERROR, CRITICAL"
        )
    return number


def config_root_logger(level: str | int | None = None) -> logging.Logger:
    """The logger `balsam`, with a handler that writes to stderr, at `level` (None: WARNING)."""
    root = logging.getLogger("balsam")
    root.setLevel(validate_log_level(logging.WARNING if level is None else level))
    if not any(type(handler) is logging.StreamHandler for handler in root.handlers):
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s|%(levelname)s|%(name)s:%(lineno)d] %(message)s"))
        root.addHandler(handler)
    return root


def parse_to_utc(time_str: str, local_zone: str | None = None) -> datetime:
    """The time in UTC, naive; one without an offset is of `local_zone`, or of this machine's."""
    parsed = datetime.fromisoformat(time_str)
    if parsed.tzinfo is None and local_zone is not None:
        parsed = parsed.replace(tzinfo=ZoneInfo(local_zone))
    return parsed.astimezone(UTC).replace(tzinfo=None)
