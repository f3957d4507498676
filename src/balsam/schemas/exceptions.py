"""How exceptions are pickled: with what they hold and without calling their constructors.

Python pickles an exception as its class and `args`, and makes it again by calling the class with those. That
fails for a constructor that takes other arguments than it hands to Exception, and it forgets the exception's
cause.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from types import FunctionType
from typing import Any

# Of the built-in kinds: what their constructors would have set beside `args`.
_OWN_FIELDS: tuple[tuple[type[BaseException], tuple[str, ...]], ...] = (
    (OSError, ("errno", "strerror", "filename", "filename2")),
    (ImportError, ("name", "path")),
    (StopIteration, ("value",)),
    (SystemExit, ("code",)),
    (AttributeError, ("name",)),
    (NameError, ("name",)),
    (SyntaxError, ("msg", "filename", "lineno", "offset", "text", "end_lineno", "end_offset")),
    (UnicodeError, ("encoding", "object", "start", "end", "reason")),
)
_LINKS = ("__cause__", "__context__")


def reduced(exc: BaseException) -> Any:
    """What `__reduce_ex__` would answer, with cause and context, and without a user's constructor."""
    if _pickles_itself(type(exc)):
        return NotImplemented
    state = {name: getattr(exc, name) for name in _slots(type(exc)) if hasattr(exc, name)} | vars(exc)
    for kind, names in _OWN_FIELDS:
        if isinstance(exc, kind):
            state |= {name: value for name in names if (value := getattr(exc, name, None)) is not None}
    state |= {name: value for name in _LINKS if (value := getattr(exc, name)) is not None}
    if exc.__suppress_context__:
        state["__suppress_context__"] = True  # after the cause, which sets it too
    if _has_own_constructor(type(exc)):
        return copyreg.__newobj__, (type(exc), *exc.args), state or None  # type: ignore[attr-defined]
    made: Any = exc.__reduce__()
    own = made[2] if len(made) > 2 and isinstance(made[2], dict) else {}
    return (*made[:2], own | state) if state else made


def _slots(cls: type) -> list[str]:
    names: list[str] = copyreg._slotnames(cls)  # type: ignore[attr-defined]
    return names


def without_what_fails(exc: BaseException, opens: Callable[[Any], bool]) -> None:
    """Takes from an exception what `opens` refuses of its attributes and links; a note tells of each."""
    for name in [*vars(exc), *_LINKS]:
        value = getattr(exc, name, None)
        if value is None or name == "__notes__" or opens(value):
            continue
        if name in _LINKS:
            setattr(exc, name, None)
        else:
            delattr(exc, name)
            exc.add_note(f"its attribute {name}, a {type(value).__name__}, could not be sent")


def _pickles_itself(cls: type) -> bool:
    """Whether a class between this and the built-in ones says how it is pickled."""
    methods = (
        "__reduce__",
        "__reduce_ex__",
        "__getstate__",
        "__setstate__",
        "__getnewargs__",
        "__getnewargs_ex__",
    )
    return any(isinstance(vars(base).get(name), FunctionType) for base in cls.__mro__ for name in methods)


def _has_own_constructor(cls: type) -> bool:
    return isinstance(getattr(cls, "__init__", None), FunctionType) or isinstance(cls.__new__, FunctionType)
