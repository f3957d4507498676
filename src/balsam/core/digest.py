"""Fingerprints: of the ids that a lease covers, and of request bodies."""

import hashlib
from collections.abc import Iterable


def of_ids(ids: Iterable[int]) -> str:
    """The same text for the same set of ids, whatever their order."""
    return hashlib.sha256(",".join(map(str, sorted(ids))).encode()).hexdigest()[:32]


def of_bytes(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
