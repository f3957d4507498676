"""Passwords, kept as argon2 hashes. Slow on purpose: never while this process holds the one writer."""

from __future__ import annotations

import secrets
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

_hasher = PasswordHasher()
# Verified where there is no such user or no password, so that all failures take the same time.
_NONE = _hasher.hash(secrets.token_hex())
# Each takes 64 MB and a core, and strangers may ask for one: no more than two at a time.
_turn = BoundedSemaphore(2)


def hash_of(password: str) -> str:
    with _turn:
        return _hasher.hash(password)


def is_right(stored: str | None, password: str) -> bool:
    """Whether the password is the one of the stored hash; takes as long where there is none."""
    try:
        with _turn:
            _hasher.verify(stored or _NONE, password)
    except (VerifyMismatchError, InvalidHashError):
        return False
    return stored is not None
