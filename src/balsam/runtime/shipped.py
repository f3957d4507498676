"""An app's class with the user's modules that travelled in it, as a process that runs the app has them.

The modules can be imported under their names while a step of the app goes on: by the app, by `pickle`, and by
the processes of a pool, however those are started. For the latter they are also in a zip file without a name,
which is on `sys.path`; what is imported from it opens the same pickle.
"""

from __future__ import annotations

import contextlib
import dis
import io
import logging
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from importlib.machinery import ModuleSpec
from itertools import chain
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import orjson

from balsam.runtime.capture import high
from balsam.schemas.reading import UserModules
from balsam.sdk.application import ApplicationDefinition

AppClass = type[ApplicationDefinition]
Load = Callable[[UserModules], AppClass]

PAYLOAD = "balsam-app.json"
_CHILD = "balsam.runtime.pool_child"
_SHIM = """import sys
from balsam.runtime import pool_child
sys.modules[__name__] = pool_child.modules()[__name__]
"""
# Names by which code changes what belongs to others, beside assignments to attributes; some bring other code.
_REACHING = frozenset(
    """
    setattr delattr __setattr__ __delattr__ vars __dict__ globals exec eval patch patch_all monkey
    monkey_patch mock setitem __import__ import_module ctypes seterr update_wrapper freeze_time nest_asyncio
    __globals__ __builtins__ __subclasses__ __self__ __class__ __code__ breakpoint help result as_completed
    pickle cloudpickle dill joblib
    """.split()  # noqa: SIM905 - a list of these in quotes is hard to read
)
_FIXED = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    range,
    ModuleType,
    BuiltinFunctionType,
    type(dict.fromkeys),
    type(str.join),
    type(vars(type)["__dict__"]),
    type(vars(ModuleType)["__dict__"]),
    logging.Logger,  # their state is looked after elsewhere
    PurePath,
    re.Pattern,
    date,
    timedelta,
    Decimal,
)


_PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes, range)

# What every module and class has.
_NOT_CODE = frozenset(
    """
    __builtins__ __spec__ __dict__ __weakref__ __annotations__ __loader__ __app_id__ site parameters
    environment_variables transfers cleanup_files
    """.split()  # noqa: SIM905 - as above
)


@dataclass(frozen=True, slots=True)
class Reach:
    """Whether code assigns to attributes of others, and whether it uses more than built-in names."""

    assigns: bool
    uses: bool


_OURS = ("balsam", "builtins")
EVERYWHERE = Reach(assigns=True, uses=True)


class Script(ModuleType):
    """`__main__` while an app runs: spawned processes of a pool do not run the user's script again."""

    @property
    def __file__(self) -> str:  # type: ignore[override]
        raise AttributeError("__file__")


class ShippedApp:
    """Opened anew for a step wherever an earlier one may have changed what was opened."""

    def __init__(self, load: Load, record: dict[str, Any]) -> None:
        self._load = load
        self.record = record
        self._opened: tuple[AppClass, UserModules] | None = None
        self._watch: Unchanged | None = None
        self._path: str | None = None
        self.reach = EVERYWHERE

    def open(self) -> AppClass:
        """The class, as nobody has used it yet; raises what loading it raises."""
        if self._opened is None or self._watch is None or self._watch.is_broken():
            self._open()
        assert self._opened is not None
        return self._opened[0]

    def _open(self) -> None:
        is_first = self._opened is None
        modules = UserModules()
        self._opened = None
        with self._importable(modules, None):
            app_class = self._load(modules)
        self._opened = app_class, modules
        self._watch = Unchanged.of(app_class, modules)
        if is_first:
            self.reach = _reach(app_class, modules)
            if modules.by_name:
                self._path = _bundle(modules.by_name, orjson.dumps(self.record))

    def importable(self, workdir: str) -> contextlib.AbstractContextManager[None]:
        """Within the block the app's modules can be imported; those in its workdir too, behind all others."""
        assert self._opened is not None
        return self._importable(self._opened[1], workdir)

    @contextlib.contextmanager
    def _importable(self, modules: UserModules, workdir: str | None) -> Iterator[None]:
        own, path, content = sys.modules.get("__main__"), sys.path, list(sys.path)
        sys.modules["__main__"] = _script(modules)
        before = {name: sys.modules.get(name) for name in modules.by_name}
        sys.modules.update({n: module for n, module in modules.by_name.items() if n != "__main__"})
        sys.path += [entry for entry in (self._path, workdir) if entry]
        try:
            yield
        finally:
            for name in modules.by_name:
                if (earlier := before.get(name)) is not None:
                    sys.modules[name] = earlier
                else:
                    sys.modules.pop(name, None)
            if own is not None:
                sys.modules["__main__"] = own
            sys.path = path
            path[:] = content
            if workdir is not None:
                sys.path_importer_cache.pop(workdir, None)


def _script(modules: UserModules) -> ModuleType:
    """`__main__`, with what the user's script defines of the app."""
    script = modules.by_name.get("__main__")
    if script is None:
        script = modules.by_name["__main__"] = _new_script()
    return script


def _new_script() -> ModuleType:
    made = Script("__main__")
    made.__spec__ = ModuleSpec(_CHILD, None)
    return made


class Unchanged:
    """What can be changed of an opened class and its modules, and how it was: that is compared quickly."""

    def __init__(self) -> None:
        self._spaces: list[tuple[Mapping[str, Any], list[Any]]] = []
        self._containers: list[tuple[Any, Any]] = []
        self._functions: list[tuple[FunctionType, tuple[Any, ...]]] = []
        self._seen: set[int] = set()

    @classmethod
    def of(cls, app_class: AppClass, modules: UserModules) -> Unchanged | None:
        """None where something is held that can't be watched so."""
        watch = cls()
        try:
            watch._spaces.append((vars(ApplicationDefinition), [*vars(ApplicationDefinition).values()]))
            for content in filter(_is_container, vars(ApplicationDefinition).values()):
                watch._value(content)
            for module in modules.by_name.values():
                watch._space(vars(module), {"__builtins__", "__spec__"})
            watch._value(app_class)
        except _Changeable:
            return None
        return watch

    def is_broken(self) -> bool:
        try:
            return not (
                all([*space.values()] == values for space, values in self._spaces)
                and all(content == before for content, before in self._containers)
                and all(_parts(function) == parts for function, parts in self._functions)
            )
        except Exception:  # values that can't be compared
            return True

    def _space(self, space: Mapping[str, Any], unwatched: set[str]) -> None:
        self._spaces.append((space, [*space.values()]))
        for name, value in space.items():
            if name not in unwatched:
                self._value(value)

    def _value(self, value: Any) -> None:
        if isinstance(value, _FIXED) or type(value).__module__ == "typing" or id(value) in self._seen:
            return
        self._seen.add(id(value))
        if isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, staticmethod | classmethod):
            self._value(value.__func__)
        elif isinstance(value, property):
            for function in (value.fget, value.fset, value.fdel):
                self._value(function)
        elif type(value) in (tuple, frozenset):
            for item in value:
                self._value(item)
        elif _is_container(value) and len(value) < 100:
            self._containers.append((value, value.copy()))
            for item in (*value.keys(), *value.values()) if isinstance(value, dict) else value:
                self._value(item)
        else:
            raise _Changeable

    def _function(self, function: FunctionType) -> None:
        if _is_of_a_package(function):
            return
        self._functions.append((function, _parts(function)))
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._value(value)
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):
                self._value(cell.cell_contents)
        if vars(function):
            raise _Changeable

    def _class(self, cls: type) -> None:
        if _is_of_a_package(cls):
            return
        self._space(
            vars(cls), {"__dict__", "__weakref__", "__annotations__", "_abc_impl", "__abstractmethods__"}
        )
        for base in cls.__bases__:
            self._value(base)


def _is_container(value: Any) -> bool:
    return type(value) in (list, set, dict)


def _is_of_a_package(made: type | FunctionType) -> bool:
    return made.__module__ in sys.modules and made.__module__ != "__main__"


class _Changeable(Exception):
    """A value that may be changed without its being seen."""


def _parts(function: FunctionType) -> tuple[Any, ...]:
    cells = tuple(map(_content, function.__closure__ or ()))
    return function.__code__, function.__defaults__, function.__kwdefaults__, len(vars(function)), cells


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


# ---- what the code may do ----


def _reach(app_class: AppClass, modules: UserModules) -> Reach:
    """What an app's code can change beyond itself, judged by its text."""
    judged = _Judged()
    for module in modules.by_name.values():
        judged.space(vars(module), is_class=False)
    judged.value(app_class)
    return Reach(judged.assigns, judged.uses)


class _Judged:
    """What is found in an app's classes, functions and modules, and in all that these hold."""

    def __init__(self) -> None:
        self.assigns = self.uses = False
        self._seen: set[int] = set()

    def space(self, space: Mapping[str, Any], *, is_class: bool) -> None:
        for name, value in list(space.items()):
            if name not in _NOT_CODE:
                self.value(value, is_method=is_class)

    def value(self, value: Any, *, is_method: bool = False) -> None:
        if isinstance(value, _PLAIN) or id(value) in self._seen:
            return
        self._seen.add(id(value))
        if isinstance(value, FunctionType):
            self._function(value, is_method)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, staticmethod | classmethod):
            self.value(value.__func__, is_method=isinstance(value, classmethod))
        elif isinstance(value, property):
            for function in (value.fget, value.fset, value.fdel):
                self.value(function, is_method=True)
        elif type(value) in (tuple, frozenset, list, set, dict):
            for item in (*value, *value.values()) if isinstance(value, dict) else value:
                self.value(item)
        else:  # a package, or an object
            self.uses = True
            if not isinstance(value, ModuleType):
                self._object(value)

    def _object(self, value: Any) -> None:
        """What decorators make, for example."""
        if isinstance(value, partial):
            held = [value.func, *value.args, *value.keywords.values()]
        elif isinstance(value, MethodType):
            held = [value.__func__, value.__self__]
        else:
            content = getattr(value, "__dict__", {})
            is_own = not _is_of_a_package(type(value))
            held = [type(value), *content.values()] if is_own else [content.get("__wrapped__")]
        for item in held:
            self.value(item)

    def _function(self, function: FunctionType, is_method: bool) -> None:
        self.uses |= _is_of_a_package(function)
        whole = function.__code__
        for code in _with_inner(whole):
            own = _own_object(code) if is_method and code is whole else None
            self.assigns |= _assigns(code, own)
            self.uses |= bool(_REACHING.intersection(code.co_names)) or _imports(code)
        held = (
            function.__defaults__ or (),
            (function.__kwdefaults__ or {}).values(),
            vars(function).values(),
        )
        for value in chain(*held, map(_content, function.__closure__ or ())):
            self.value(value)

    def _class(self, cls: type) -> None:
        if cls.__module__.partition(".")[0] in _OURS:
            return
        if _is_of_a_package(cls):
            self.uses = True
            return
        self.space(vars(cls), is_class=True)
        for base in cls.__bases__:
            self.value(base)


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _with_inner(inner)


def _imports(code: CodeType) -> bool:
    return any(step.opname == "IMPORT_NAME" for step in dis.get_instructions(code))


def _own_object(code: CodeType) -> str | None:
    """The name of a method's own object; None where it may be the name of another."""
    if not code.co_argcount:
        return None
    name = code.co_varnames[0]
    stored = {step.argval for step in dis.get_instructions(code) if step.opname.startswith("STORE_")}
    return None if name in stored else name


def _assigns(code: CodeType, own: str | None) -> bool:
    """Whether it assigns to attributes of others than its `own` object, or may do so."""
    if _REACHING.intersection(code.co_names):
        return True
    loaded: object = None
    for step in dis.get_instructions(code):
        if step.opname in ("STORE_ATTR", "DELETE_ATTR") and (own is None or loaded != own):
            return True
        loaded = step.argval if step.opname == "LOAD_FAST" else None
    return False


# ---- for the processes of a pool ----


def _bundle(names: Mapping[str, ModuleType], payload: bytes) -> str:
    """The path of a zip file that is there as long as this process is."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(PAYLOAD, payload)
        for name, module in names.items():
            if name != "__main__":
                place = name.replace(".", "/")
                archive.writestr(
                    f"{place}/__init__.py" if "__path__" in vars(module) else f"{place}.py", _SHIM
                )
    fd = os.memfd_create("balsam-app", os.MFD_CLOEXEC)
    os.write(fd, content.getbuffer())
    kept = high(fd)
    os.close(fd)
    return f"/proc/{os.getpid()}/fd/{kept}"
