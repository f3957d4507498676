"""Where an app's class comes from: a class statement of this process, or a pickle that was opened here."""

from __future__ import annotations

import inspect
import linecache
import sys
import textwrap
import types
from collections.abc import Sequence
from dataclasses import dataclass

# Who makes classes from pickles. Modules that run class statements of their own are told from that.
_OPENERS = frozenset({"balsam", "cloudpickle", "dill", "pickle", "multiprocessing", "joblib", "distributed"})
_STEPS_OF_MAKING = frozenset({"__init_subclass__", "__new__", "__init__", "__call__"})


@dataclass(frozen=True, slots=True)
class Origin:
    """`by_value`: made from a pickle. `lines`: of the file or notebook cell, as it was at that time."""

    by_value: bool
    lines: Sequence[str] = ()
    first_line: int = 0

    @property
    def source(self) -> str | None:
        """The text of the class statement; None where there is none to be had."""
        try:
            block = inspect.getblock(self.lines[self.first_line - 1 :]) if self.first_line else []
        except (IndentationError, SyntaxError):
            return None
        return textwrap.dedent("".join(block)) or None


def origin(name: str, frame: types.FrameType | None) -> Origin:
    """Of the class that is being made, by the frame that called its `__init_subclass__`.

    The text is taken now: once the file has been edited, it is no longer the one of this class.
    """
    while frame is not None and frame.f_code.co_name in _STEPS_OF_MAKING:
        frame = frame.f_back
    if frame is None:
        return Origin(by_value=False)
    body = _body(name, frame.f_code)
    if body is None:
        maker = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        return Origin(by_value=maker in _OPENERS)
    linecache.checkcache(body.co_filename)
    lines = linecache.getlines(body.co_filename, frame.f_globals)
    return Origin(by_value=False, lines=lines, first_line=body.co_firstlineno)


def _body(name: str, code: types.CodeType) -> types.CodeType | None:
    """The code of a class statement's body is a constant of the code that executes the statement."""
    found = (c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == name)
    return next(found, None)


def here() -> str:
    """Who registers an app from this process, on which host, with which program."""
    import os
    import pwd
    import socket

    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    program = getattr(sys.modules.get("__main__"), "__file__", None) or "an interactive session"
    return f"{user} on {socket.gethostname()}, {program}"
