"""What a client shows the server: one token, or the login that all processes of a user share in its file.

A shared login has a short token and a refresh token that serves once. Requests read no file and ask nobody,
until the token is known to have run out or is refused: then whoever comes first renews it under a lock and
replaces the file, and the others find there what they need.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from balsam.client.errors import BrokenLogin, LoginBusy
from balsam.client.login import Login, load_login, save_login
from balsam.core.forks import renew_in_children

LOCK_WAIT_SEC = 60.0
MARGIN = timedelta(seconds=1)  # a token that runs out on its way would be refused

# Sends a refresh token to the server; answers what it answers.
Renew = Callable[[str], dict[str, Any]]


class Credentials(Protocol):
    def token(self, renew: Renew) -> str | None:
        """What to send with a request."""

    def after_refusal(self, refused: str | None, renew: Renew) -> str | None:
        """What to send in place of a token that the server refused; None where there is nothing else."""


@dataclass(frozen=True)
class FixedToken:
    """A site's token, or one that a program was given."""

    text: str | None

    def token(self, renew: Renew) -> str | None:
        return self.text

    def after_refusal(self, refused: str | None, renew: Renew) -> str | None:
        return None


class SharedLogin:
    """The login in a file, which other processes may renew or replace at any time. Thread safe."""

    def __init__(self, path: Path, login: Login) -> None:
        self._path = path
        self._login = login
        self._is_in_file = True
        self._one_thread = threading.Lock()
        renew_in_children(self)

    def after_fork(self) -> None:
        self._one_thread = threading.Lock()

    def token(self, renew: Renew) -> str | None:
        login = self._login
        return self._newer(login.token, renew) if _has_run_out(login) else login.token

    def after_refusal(self, refused: str | None, renew: Renew) -> str | None:
        token = self._newer(refused, renew)
        return token if token != refused else None

    def _newer(self, than: str | None, renew: Renew) -> str | None:
        """A token after this one: another thread's, another process's, or a new one."""
        with self._one_thread:
            if not self._serves(self._login, than) and not self._look_again(than):
                with _locked(self._path):
                    if not self._look_again(than):
                        self._renew(renew)
            return self._login.token

    def _renew(self, renew: Renew) -> None:
        if self._login.refresh_token is None:
            return
        self._login = renewable_login(self._login, renew(self._login.refresh_token))
        if self._is_in_file:
            save_login(self._login, self._path)

    def _look_again(self, than: str | None) -> bool:
        """Whether somebody has put a token into the file that serves."""
        stored = load_login(self._path)
        # Else logged out, or as another user: this client goes on as whom it began and leaves the file alone.
        self._is_in_file = stored is not None and stored.is_of_same_user(self._login)
        if stored is None or not self._is_in_file:
            return False
        self._login = stored
        return self._serves(stored, than)

    @staticmethod
    def _serves(login: Login, than: str | None) -> bool:
        return login.token != than and not _has_run_out(login)


def replace_login(login: Login | None, path: Path) -> None:
    """Puts another login into the file, or removes it: a renewal under way can't put the old one back."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(path):
        if login is None:
            path.unlink(missing_ok=True)
        else:
            save_login(login, path)


def renewable_login(login: Login, answer: dict[str, Any]) -> Login:
    """The login with the tokens of the server's answer, its expiry by this machine's own clock."""
    expiry = datetime.now(UTC) + timedelta(seconds=answer["expires_in"])
    return replace(
        login, token=answer["access_token"], token_expiry=expiry, refresh_token=answer["refresh_token"]
    )


def _has_run_out(login: Login) -> bool:
    if login.refresh_token is None or login.token_expiry is None:
        return False  # nothing to be done about it, so the server may tell
    return login.token_expiry - MARGIN <= datetime.now(UTC)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; raises LoginBusy after a minute."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        file = _LockFile(lock)
    except OSError as exc:
        reason = f"it can't be renewed, for {lock} can't be written: {exc.strerror}"
        raise BrokenLogin(path, reason, "make its folder your own") from exc
    try:
        file.lock()
        yield
    finally:
        file.close()


class _LockFile:
    """An open file with a lock upon it, which a forked child must not hold on to: the lock is both's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._owner = os.getpid()
        renew_in_children(self)

    def after_fork(self) -> None:
        self._let_go()

    def lock(self) -> None:
        """Waits for it; raises LoginBusy after a minute."""
        give_up = time.monotonic() + LOCK_WAIT_SEC
        while self._descriptor is not None:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise LoginBusy(self._path) from None
                time.sleep(0.02)
            except OSError:
                # A filesystem without locks: two may renew at once, for which the server allows a minute.
                return

    def close(self) -> None:
        if self._descriptor is not None and self._owner == os.getpid():
            with contextlib.suppress(OSError):
                # Not only closed: a child that was forked without Python's knowledge may have it open, too.
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._let_go()

    def _let_go(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
