"""What a script does at its end, done after each run: threads are waited for, exit functions called."""

from __future__ import annotations

import atexit
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from balsam.schemas.user_code import is_installed


@dataclass(slots=True)
class _Exit:
    function: Callable[..., object]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    def call(self) -> None:
        try:
            self.function(*self.args, **self.kwargs)
        except BaseException as exc:  # as Python does: told, and the others are called
            if not isinstance(exc, SystemExit):
                sys.stderr.write(f"Exception ignored in atexit callback {self.function!r}:\n")
                sys.stderr.write("".join(traceback.format_exception(exc)))

    @property
    def is_of_a_package(self) -> bool:
        """Whether a package has registered it on import, as it would in a new process."""
        module = sys.modules.get(getattr(self.function, "__module__", None) or "")
        file = getattr(module, "__file__", None)
        owner = getattr(self.function, "__self__", None)
        is_plain = owner is None or isinstance(owner, type)
        return is_plain and not self.args and isinstance(file, str) and is_installed(file)


class ExitFunctions:
    """Stands for `atexit` from now on: what a run registers is called at its end."""

    def __init__(self) -> None:
        atexit._clear()  # this process ends otherwise
        weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]
        self._exits: list[_Exit] = []
        atexit.register = self.register
        atexit.unregister = self.unregister
        atexit._run_exitfuncs = self.call
        atexit._clear = self._exits.clear
        atexit._ncallbacks = lambda: len(self._exits)

    def register(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """Register a function to be executed upon normal program termination."""
        if not callable(func):
            raise TypeError("the first argument must be callable")
        self._exits.append(_Exit(func, args, kwargs))
        return func

    def unregister(self, func: Callable[..., Any], /) -> None:
        """Unregister an exit function which was previously registered."""
        self._exits[:] = [entry for entry in self._exits if entry.function != func]

    def call(self) -> None:
        """Calls them, the last one first, and forgets them, but for those of installed packages."""
        if not self._exits:
            return
        again = [entry for entry in self._exits if entry.is_of_a_package]
        while self._exits:
            self._exits.pop().call()
        self._exits[:] = again
        weakref.finalize._shutdown = False  # type: ignore[attr-defined]


def finish_threads() -> None:
    """Waits for threads that are no daemons, as Python does at the end of a script."""
    if threading.active_count() == 1:
        return
    # Those of concurrent.futures wait for more work until they are told.
    for call in reversed(getattr(threading, "_threading_atexits", [])):
        call()
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
