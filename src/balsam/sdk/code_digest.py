"""What an app's class runs, as digests that are the same for the same code in every process.

Bytes of a pickle are not: sets have another order, files another path, functions another line. So the code is
walked here: bytecode, constants, defaults, closures, and what they refer to of the user's own modules, each
under its name. Comments, blank lines and the place of a file do not count; docstrings do.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import logging
import sys
import types
from collections import deque
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from balsam.core.limits import MAX_CODE_PARTS
from balsam.schemas.user_code import is_user_code
from balsam.sdk.bytecode import uses_of
from balsam.sdk.model import Model

# Made by Python.
_NOT_CODE = frozenset(
    {
        "__dict__",
        "__weakref__",
        "__module__",
        "__qualname__",
        "__firstlineno__",
        "__static_attributes__",
        "__annotations__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__abstractmethods__",
        "_abc_impl",
        "__slotnames__",
        "__doc__",
    }
)
# Of apps: made by this library, no code, or told by themselves.
_NOT_CODE_OF_APPS = frozenset({"__app_id__", "_client_key", "site", "parameters", "transfers"})
_ATOMS = (bool, int, float, complex, str, bytes, bytearray, type(None), type(...), type(NotImplemented))
_DIGITS = 16
_LONGEST_TEXT = 200
_DEEPEST = 100  # nested values; below that their types count alone


@dataclass(frozen=True, slots=True)
class CodeDigest:
    """`parts`: a digest for each function, class and value, by name; `digest`: of all of them.

    `imported`: modules that functions of the user's import when they are called.
    """

    digest: str
    parts: Mapping[str, str]
    watch: Watch
    imported: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Watch:
    """Where the code was found, so that a cell of a notebook that defines a function anew is noticed.

    What is changed in place, such as an item of a list, is not.
    """

    places: list[tuple[Mapping[str, Any], str, Any]]  # what a name stood for in a module or class
    codes: list[tuple[types.FunctionType, types.CodeType]]
    sizes: list[tuple[Mapping[str, Any], int]]

    def is_unchanged(self) -> bool:
        return (
            all(place.get(name, self) is value for place, name, value in self.places)
            and all(function.__code__ is code for function, code in self.codes)
            and all(len(place) == size for place, size in self.sizes)
        )


def code_digest(cls: type, *, settings: Mapping[str, Any] | None = None) -> CodeDigest:
    """Of the code that the app's class `cls` runs.

    `settings`: further JSON-like values that count, by name, such as its parameters.
    """
    walk = _Walk(cls)
    parts = walk.parts()
    for name, value in (settings or {}).items():
        parts[name] = _short(walk.encoded(value))
    parts["Python"] = f"{sys.version_info.major}.{sys.version_info.minor}"
    whole = "\n".join(f"{name} {text}" for name, text in sorted(parts.items()))
    if len(parts) > MAX_CODE_PARTS:
        parts = dict(sorted(parts.items())[:MAX_CODE_PARTS])
    digest = hashlib.sha256(whole.encode()).hexdigest()[:32]
    return CodeDigest(digest, parts, walk.watch, frozenset(walk.imported))


def _bounded(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"#{_short(text)}"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


class _Walk:
    """From a class to everything of the user's that it reaches. Each is encoded as text, by its meaning."""

    def __init__(self, cls: type) -> None:
        self._root = cls
        self._names: dict[int, str] = {}
        self._taken: dict[str, int] = {}
        self._left: deque[tuple[str, Any]] = deque()
        self._kept: list[Any] = []  # what was made while walking lives on, or ids would be used again
        self._known: dict[int, str] = {}  # what is referred to from many places is written out once
        self._inside: list[int] = []
        self.watch = Watch([], [], [])
        self.imported: set[str] = set()

    def parts(self) -> dict[str, str]:
        self._refer(self._root)
        found: dict[str, str] = {}
        while self._left:
            name, obj = self._left.popleft()
            if isinstance(obj, type):
                found |= self._class_parts(name, obj)
            else:
                found[name] = _short(self._function(obj))
        return found

    # ---- functions and classes: parts of their own ----

    def _refer(self, obj: Any) -> str:
        """The name under which a function or class of the user's is a part, in the order of their finding."""
        if id(obj) not in self._names:
            name = self._fresh_name(obj)
            self._names[id(obj)] = name
            self._kept.append(obj)
            self._left.append((name, obj))
        return self._names[id(obj)]

    def _fresh_name(self, obj: Any) -> str:
        module = getattr(obj, "__module__", None)
        own = module == self._root.__module__
        return self._take(obj.__qualname__ if own or not module else f"{module}.{obj.__qualname__}")

    def _take(self, name: str) -> str:
        """What a decorator has wrapped has the name of the attribute that holds the wrapper."""
        self._taken[name] = count = self._taken.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"

    def _class_parts(self, name: str, cls: type) -> dict[str, str]:
        found = {name: _short(self._class_head(cls))}
        left_out = _NOT_CODE | _NOT_CODE_OF_APPS if "__app_id__" in vars(cls) else _NOT_CODE
        self.watch.sizes.append((vars(cls), len(vars(cls))))
        chosen = [
            (attribute, value)
            for attribute, value in sorted(vars(cls).items())
            if attribute not in left_out and (not isinstance(cls, enum.EnumMeta) or _is_own(attribute, value))
        ]
        names = [self._take(f"{name}.{attribute}") for attribute, _ in chosen]
        for part, (attribute, value) in zip(names, chosen, strict=True):
            self.watch.places.append((vars(cls), attribute, value))
            found[part] = _short(self.encoded(value, whole=True))
        return found

    def _class_head(self, cls: type) -> str:
        bases = [self.encoded(base) for base in cls.__bases__]
        members = ""
        if isinstance(cls, enum.EnumMeta):
            members = self.encoded({member.name: member.value for member in cls})  # type: ignore[var-annotated]
        return f"class {bases} {self.encoded(type(cls))} {members}"

    def _function(self, function: types.FunctionType) -> str:
        code = function.__code__
        self.watch.codes.append((function, code))
        cells = dict(zip(code.co_freevars, map(_content, function.__closure__ or ()), strict=True))
        values = (function.__defaults__, function.__kwdefaults__, cells)
        return f"def {self._code(code)} {self.encoded(values)} {self._globals(function)}"

    def _globals(self, function: types.FunctionType) -> str:
        uses = uses_of(function.__code__, function.__globals__.get("__package__") or "")
        self.imported |= uses.imported
        found = []
        for name in sorted(uses.global_names):
            if name in function.__globals__ and not name.startswith("__"):
                value = function.__globals__[name]
                self.watch.places.append((function.__globals__, name, value))
                is_module = isinstance(value, types.ModuleType)
                told = self._module(value, sorted(uses.names)) if is_module else self.encoded(value)
                found.append(f"{name}={_bounded(told)}")
        return f"[{', '.join(found)}]"

    def _module(self, module: types.ModuleType, names: Any) -> str:
        """Of a module of the user's, what the function may take from it: attributes of names that it uses."""
        if not _is_users_module(module):
            return f"module {module.__name__}"
        content = vars(module)
        names = [name for name in names if name in content and not name.startswith("__")]
        self.watch.places.extend((content, name, content[name]) for name in names)
        return f"module {self.encoded({name: content[name] for name in names})}"

    def _code(self, code: types.CodeType) -> str:
        shape = (
            code.co_argcount,
            code.co_posonlyargcount,
            code.co_kwonlyargcount,
            code.co_flags,
            code.co_code,
            code.co_names,
            code.co_varnames,
            code.co_freevars,
            code.co_cellvars,
            code.co_exceptiontable,
        )
        constants = [
            self._code(c) if isinstance(c, types.CodeType) else self.encoded(c) for c in code.co_consts
        ]
        return f"code {shape!r} {constants}"

    # ---- values ----

    def encoded(self, obj: Any, *, whole: bool = False) -> str:
        """A text that is the same for equal values. `whole`: a function is written out, not named."""
        if isinstance(obj, _ATOMS) and type(obj) in _ATOMS:
            return _bounded(f"{type(obj).__name__}:{obj!r}")
        if id(obj) in self._inside:
            return f"cycle:{len(self._inside) - self._inside.index(id(obj))}"
        if len(self._inside) > _DEEPEST:
            return f"deep:{type(obj).__qualname__}"
        if not whole and id(obj) in self._known:
            return self._known[id(obj)]
        self._kept.append(obj)
        self._inside.append(id(obj))
        try:
            told = _bounded(self._compound(obj, whole))
        finally:
            self._inside.pop()
        if not whole:
            self._known[id(obj)] = told
        return told

    def _compound(self, obj: Any, whole: bool) -> str:
        if isinstance(obj, types.FunctionType):
            if whole:
                return self._function(obj)
            return f"function:{self._refer(obj) if _is_users(obj) else _address(obj)}"
        if isinstance(obj, type):
            return f"type:{self._refer(obj) if _is_users(obj) else _address(obj)}"
        if isinstance(obj, types.ModuleType):
            return self._module(obj, [name for name in sorted(vars(obj)) if not name.startswith("__")])
        if type(obj) in (list, tuple):
            return f"{type(obj).__name__}:[{', '.join(self.encoded(one) for one in obj)}]"
        if type(obj) in (set, frozenset) or isinstance(obj, Set):
            return f"{type(obj).__name__}:[{', '.join(sorted(self.encoded(one) for one in obj))}]"
        if type(obj) in (dict, types.MappingProxyType):
            items = sorted(f"{self.encoded(k)}: {self.encoded(v)}" for k, v in obj.items())
            return f"dict:[{', '.join(items)}]"
        return self._wrapped(obj, whole)

    def _wrapped(self, obj: Any, whole: bool) -> str:
        """What holds functions: methods of all kinds, properties, partials; then any other object."""
        kind = type(obj).__name__
        if isinstance(obj, staticmethod | classmethod):
            return f"{kind}:{self.encoded(obj.__func__, whole=whole)}"
        if isinstance(obj, property):
            return f"property:{[self.encoded(one, whole=whole) for one in (obj.fget, obj.fset, obj.fdel)]}"
        if isinstance(obj, functools.cached_property):
            return f"{kind}:{self.encoded(obj.func, whole=whole)}"
        if isinstance(obj, functools.partial):
            return f"partial:{self.encoded((obj.func, obj.args, obj.keywords))}"
        if isinstance(obj, types.MethodType):
            return f"method:{self.encoded((obj.__func__, obj.__self__))}"
        if isinstance(obj, types.CodeType):
            return self._code(obj)
        if isinstance(
            obj, types.BuiltinFunctionType | types.MemberDescriptorType | types.GetSetDescriptorType
        ):
            return f"{kind}:{getattr(obj, '__qualname__', kind)}"
        if isinstance(obj, functools._lru_cache_wrapper):
            return f"cache:{self.encoded(obj.__wrapped__, whole=whole)}"
        if isinstance(obj, logging.Logger):
            return kind  # its name is the module's, which is another one where that is the script
        if isinstance(obj, Model):
            return f"{kind}:{obj.__dict__.get('_row', {}).get('id')}"  # other fields change by themselves
        if isinstance(obj, enum.Enum):
            return f"member:{self.encoded(type(obj))}.{obj.name}"
        return self._object(obj)

    def _object(self, obj: Any) -> str:
        """By what pickles it; what nothing pickles counts by its type alone."""
        try:
            reduced = obj.__reduce_ex__(4)
        except Exception:  # of whatever the user's class does
            return f"opaque:{self.encoded(type(obj))}"
        if isinstance(reduced, str):
            return f"global:{reduced}"
        make, arguments, *rest = reduced
        state, items, pairs = (*rest, None, None, None)[:3]
        told = [self.encoded(make), self.encoded(arguments), self.encoded(state)]
        told += [self.encoded(list(items or ())), self.encoded(dict(pairs or ()))]
        return f"object:[{', '.join(told)}]"


def _is_own(name: str, value: Any) -> bool:
    """Whether an enum's attribute is a method of the user's, not a member, and not of the library's."""
    kinds = (types.FunctionType, staticmethod, classmethod, property)
    return not name.startswith("_") and isinstance(value, kinds)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing is assigned yet
        return None


def _is_users(obj: Any) -> bool:
    """Whether a function or class travels by value: it is of no module that a site has installed."""
    module = getattr(obj, "__module__", None)
    if module is None or module in ("__main__", "__mp_main__"):
        return True
    if module == "builtins" or module.partition(".")[0] == "balsam":
        return False
    known = sys.modules.get(module)
    return known is None or _is_users_module(known)


def _is_users_module(module: types.ModuleType) -> bool:
    name, file = module.__name__, getattr(module, "__file__", None)
    if name in ("__main__", "__mp_main__"):
        return True
    if file is not None:
        return is_user_code(name, file)
    return sys.modules.get(name) is not module  # built in, or a module that came by value


def _address(obj: Any) -> str:
    return f"{getattr(obj, '__module__', '')}.{getattr(obj, '__qualname__', type(obj).__qualname__)}"
