"""A request that comes again gets the answer of the first: kept in the transaction that did the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from balsam.core.errors import Invalid, KeyReused
from balsam.store import idempotency
from balsam.store.database import Tx
from balsam.store.owner import Owner

MAX_KEY_CHARS = 200


@dataclass(frozen=True, slots=True)
class Key:
    """A client's idempotency key, and the digest of the method, path and body that came with it."""

    text: str
    digest: str


def once(tx: Tx, owner: Owner, key: Key | None, act: Callable[[], Any]) -> tuple[Any, bool]:
    """(answer, whether it is a repeated one). `act` returns what JSON can hold.

    Raises KeyReused where the key came before with another body.
    """
    if key is None:
        return act(), False
    if not 0 < len(key.text) <= MAX_KEY_CHARS:
        raise Invalid(f"Idempotency-Key must have 1 to {MAX_KEY_CHARS} characters")
    idempotency.lock(tx.conn, owner, key.text)
    found = idempotency.find(tx.conn, owner, key.text)
    if found is not None:
        digest, answer = found
        if digest != key.digest:
            raise KeyReused(key.text)
        return answer["answer"], True
    answer = act()
    idempotency.keep(tx.conn, owner, key.text, key.digest, answer)
    return answer, False
