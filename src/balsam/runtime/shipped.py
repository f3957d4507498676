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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from importlib.machinery import ModuleSpec
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
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
# Names by which code changes what belongs to others, beside assignments to attributes.
_REACHING = frozenset(
    """
    setattr delattr __setattr__ __delattr__ vars __dict__ globals exec eval patch patch_all monkey
    monkey_patch mock setitem __import__ import_module ctypes seterr update_wrapper freeze_time nest_asyncio
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
    own = [base for base in app_class.__mro__ if base.__module__.partition(".")[0] not in _OURS]
    spaces: list[Any] = [vars(module) for module in modules.by_name.values()] + [vars(base) for base in own]
    values = [value for space in spaces for name, value in space.items() if name not in _NOT_CODE]
    found = _Codes()
    for value in (*own, *values):
        found.add(value)
    codes = [*found.methods, *found.others]
    uses = any(map(_is_others, values)) or any(_REACHING.intersection(code.co_names) for code in codes)
    assigns = any(_assigns(code, _own_object(code)) for code in found.methods)
    return Reach(
        assigns=assigns or any(_assigns(code, None) for code in found.others),
        uses=uses or any(map(_imports, codes)),
    )


def _is_others(value: Any) -> bool:
    """Whether it is a module, class or function of a package, or something made by one."""
    if isinstance(value, type | FunctionType):
        return _is_of_a_package(value)
    return not isinstance(value, staticmethod | classmethod | property | int | float | str | bytes | None)


class _Codes:
    """All code that values hold, wherever it is in them, and which of it belongs to methods of an object."""

    def __init__(self) -> None:
        self.methods: list[CodeType] = []
        self.others: list[CodeType] = []
        self._seen: set[int] = set()

    def add(self, value: Any, in_class: bool = False) -> None:
        if id(value) in self._seen or isinstance(value, ModuleType):
            return
        self._seen.add(id(value))
        if isinstance(value, FunctionType):
            self._function(value, in_class)
        elif isinstance(value, property):
            self._all((value.fget, value.fset, value.fdel), in_class)
        elif isinstance(value, type):
            if not _is_of_a_package(value):
                self._all([inner for name, inner in vars(value).items() if name not in _NOT_CODE], True)
        elif _is_container(value) or isinstance(value, tuple):
            self._all(value.values() if isinstance(value, dict) else value)
        else:  # what decorators and `functools.partial` make
            self._all(getattr(value, name, None) for name in ("__func__", "__wrapped__", "func"))

    def _all(self, values: Iterable[Any], in_class: bool = False) -> None:
        for value in values:
            self.add(value, in_class)

    def _function(self, function: FunctionType, in_class: bool) -> None:
        code = function.__code__
        (self.methods if in_class else self.others).append(code)
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                self.others.extend(_with_inner(inner))
        self._all((*map(_content, function.__closure__ or ()), *vars(function).values()))


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
