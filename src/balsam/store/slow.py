"""Statements that took long, for the operator's log: their text, never their parameters."""

from __future__ import annotations

import logging
import time
from typing import Any

from sqlalchemy import event

from balsam.store.database import Database

log = logging.getLogger(__name__)
MAX_CHARS = 2_000


def log_slow(db: Database, threshold_sec: float) -> None:
    """From now on logs each statement of this database that takes longer."""
    for engine in {db.readers, db.writers}:
        event.listen(engine, "before_cursor_execute", _note_start)
        event.listen(engine, "after_cursor_execute", _Slow(threshold_sec))


def _note_start(conn: Any, *_: Any) -> None:
    conn.info["statement_began"] = time.perf_counter()


class _Slow:
    def __init__(self, threshold_sec: float) -> None:
        self._threshold_sec = threshold_sec

    def __call__(
        self, conn: Any, _cursor: Any, statement: str, _parameters: Any, _context: Any, _many: bool
    ) -> None:
        took = time.perf_counter() - conn.info["statement_began"]
        if took > self._threshold_sec:
            text = " ".join(statement[:MAX_CHARS].split())
            facts = {"statement": text, "seconds": round(took, 3)}
            log.warning("a statement took %.3f s: %s", took, text, extra={"facts": facts})
