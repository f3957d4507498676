"""What a process holds and its forked children must not share: connections, locks, threads.

After a fork the child has its parent's objects, without the threads that worked on them: a lock that another
thread held stays locked for ever, and answers that come over a socket are the parent's. So whoever holds such
things gives itself to `renew_in_children`.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Holder(Protocol):
    def after_fork(self) -> None:
        """Called in the child, where no other thread runs: lets go of what is the parent's, without waiting.

        The parent goes on with its own: nothing may be said through it, not even a goodbye.
        """


_holders: WeakSet[Holder] = WeakSet()


def renew_in_children(holder: Holder) -> None:
    """From now on `holder.after_fork` is called in each child, and in the children of those."""
    _holders.add(holder)


def _renew() -> None:
    for holder in list(_holders):
        holder.after_fork()


os.register_at_fork(after_in_child=_renew)
