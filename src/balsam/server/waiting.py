"""A request that waits for a commit of its user, without holding a thread."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

from balsam.logic import users
from balsam.server.watchers import Watcher, Watchers
from balsam.store.owner import Owner


class Waiting:
    """Hears of commits from its start on: begun before a question is asked, it does not miss the answer."""

    def __init__(self, watchers: Watchers, owner: Owner, token: str) -> None:
        self._watchers = watchers
        self._owner = owner
        self._watcher = Watcher(asyncio.get_running_loop(), users.digest_of(token))

    def __enter__(self) -> Self:
        self._watchers.add(self._owner.user_id, self._watcher)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watchers.remove(self._owner.user_id, self._watcher)

    async def for_change(self, kind: str, deadline: float) -> bool:
        """Whether there may have been such a change before `deadline` (of time.monotonic())."""
        while (left := deadline - time.monotonic()) > 0:
            wake = await self._watcher.wait(left)
            # The end of all streams: changes may have been missed, or the process ends.
            if wake.ended or any(change.kind == kind for change in wake.changes):
                return True
        return False
