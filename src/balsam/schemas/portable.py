"""Pickles that open where users' programs run, the published release included.

Public classes are named by the modules from which users import them: those are the same in every release,
and the modules in which the classes are defined are not. What the user's own modules define travels by value.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import io
import operator
import sys
import threading
import typing
import weakref
import zlib
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any
from weakref import WeakSet

import cloudpickle
from cloudpickle import cloudpickle as implementation

from balsam.schemas.user_code import SCRIPTS, is_user_module, owner_of

_HOMES = {
    "balsam.core.": "balsam.schemas",
    "balsam.schemas.": "balsam.schemas",
    "balsam.sdk.": "balsam.api",
}
# Run by the reader, before anything else is made: users of the published release came without cloudpickle.
PREPARE = """
try:
    import cloudpickle
except ImportError:
    import sys, types, zlib
    package, module = types.ModuleType("cloudpickle"), types.ModuleType("cloudpickle.cloudpickle")
    package.__path__, package.cloudpickle = [], module
    exec(zlib.decompress(source), module.__dict__)
    sys.modules.update({"cloudpickle": package, "cloudpickle.cloudpickle": module})
"""
# For readers: the class is what its module has under its name.
FINDABLE = "findable"
# Classes that came so, and that are not imported here: they go on as they came.
arrived: WeakSet[type] = WeakSet()
# Of a module: its importer's, and nothing that code asks for.
_NOT_SENT = ("__builtins__", "__loader__", "__spec__", "__cached__", "__warningregistry__")
# cloudpickle keeps what is by value in one set for the whole process.
_lock = threading.RLock()


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's, but for the names of Balsam's own classes, the user's modules, and exceptions."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.by_value: list[ModuleType] = []

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type):
            if home := public_home(obj):
                return getattr, (_Module(home), obj.__name__)
            if issubclass(obj, BaseException) and obj.__module__.startswith("balsam."):
                return _private_exception(obj)
            self._own(owner_of(obj))
            if typing.is_typeddict(obj) and _is_users(obj):
                return _typed_dict(obj)
            return _as_defined(super().reducer_override(obj), obj)
        if isinstance(obj, FunctionType):
            self._own(owner_of(obj))
        elif type(obj) in _REMADE:
            return _REMADE[type(obj)](obj)
        elif isinstance(obj, ModuleType):
            return _module_by_value(obj) if is_user_module(obj) else NotImplemented
        elif isinstance(obj, BaseException):
            from balsam.schemas.exceptions import reduced

            return reduced(obj)
        return super().reducer_override(obj)

    def _own(self, module: ModuleType | None) -> None:
        """From now on what the module defines is written by value."""
        if module is not None and module.__name__ not in cloudpickle.list_registry_pickle_by_value():
            cloudpickle.register_pickle_by_value(module)
            self.by_value.append(module)


def _as_defined(reduced: Any, cls: type) -> Any:
    """With the class's full name and slots, which cloudpickle forgets, and whether its module has it."""
    if reduced is NotImplemented or reduced[0] not in (
        implementation._make_skeleton_class,
        implementation._make_skeleton_enum,
    ):
        return reduced
    maker, (*arguments, _), *rest = reduced
    if maker is implementation._make_skeleton_class:
        kept = {"__slots__": slots} if (slots := vars(cls).get("__slots__")) else {}
        arguments[3] = {**arguments[3], "__qualname__": cls.__qualname__, **kept}
    return (maker, (*arguments, {FINDABLE: _is_findable(cls)}), *rest)


def _is_findable(cls: type) -> bool:
    if cls in arrived:
        return True
    found: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is cls


def _cached_by_value(obj: Any) -> Any:
    """A function of the user's that `functools.cache` wraps, with an empty cache; others are named."""
    function = obj.__wrapped__
    if not _is_users(function):
        return NotImplemented
    told = obj.cache_parameters()
    made = (function, told["maxsize"], told["typed"], functools._CacheInfo)
    state = {name: value for name, value in vars(obj).items() if name != "cache_parameters"}
    return functools._lru_cache_wrapper, made, state


def _cached_property(obj: Any) -> Any:
    """In some Pythons it has a lock, which is made anew."""
    told = {name: value for name, value in vars(obj).items() if name in ("attrname", "__doc__")}
    return functools.cached_property, (obj.func,), told


def _weak_dict(obj: Any) -> Any:
    return type(obj), (dict(obj),)


# What Python's library has no pickle of, by the functions that say how to make it anew.
_REMADE: dict[type, Callable[[Any], Any]] = {
    functools._lru_cache_wrapper: _cached_by_value,
    functools.cached_property: _cached_property,
    weakref.WeakKeyDictionary: _weak_dict,
    weakref.WeakValueDictionary: _weak_dict,
}


def _typed_dict(cls: Any) -> Any:
    """It has no bases from which it could be made, as other classes are."""
    wrap = {True: typing.Required, False: typing.NotRequired}
    kinds = {name: _bare(kind) for name, kind in cls.__annotations__.items()}
    told = {name: wrap[name in cls.__required_keys__][kind] for name, kind in kinds.items()}
    named = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return typing.TypedDict, (cls.__name__, told), (None, named)


def _bare(kind: Any) -> Any:
    """Without what says whether it is required."""
    return kind.__args__[0] if typing.get_origin(kind) in (typing.Required, typing.NotRequired) else kind


def _is_users(obj: Any) -> bool:
    return owner_of(obj) is not None or getattr(obj, "__module__", None) in SCRIPTS


def _private_exception(cls: type[BaseException]) -> Any:
    """A class that readers of another release do not have; there it is a RuntimeError."""
    parts = cls.__module__.split(".")
    places = tuple(".".join(parts[:end]) for end in range(1, len(parts) + 1))
    names = {"find": importlib.util.find_spec, "get": importlib.import_module, "places": places}
    return eval, (_IF_THERE, names | {"name": cls.__name__, "module": cls.__module__})


_IF_THERE = "getattr(get(module), name, RuntimeError) if all(map(find, places)) else RuntimeError"


def _module_by_value(module: ModuleType) -> Any:
    """Its content as state, not as an argument: modules may refer to each other in a circle."""
    content = {name: value for name, value in vars(module).items() if name not in _NOT_SENT}
    return implementation.dynamic_subimport, (module.__name__, {}), content


class _Module:
    """Is written as the module itself, in words that need nothing but Python to be read."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (self._name,)


class Prepared:
    """An object behind the step that lets its reader do without cloudpickle; opens as the object.

    `modules`: names of the user's modules, for a reader that makes them importable.
    """

    def __init__(self, obj: Any, modules: tuple[str, ...] = ()) -> None:
        self._obj = obj
        self._modules = modules

    def __reduce__(self) -> tuple[Any, ...]:
        return operator.itemgetter(1), ((_Preparation(self._modules), self._obj),)


class _Preparation:
    def __init__(self, modules: tuple[str, ...]) -> None:
        self._modules = modules

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (PREPARE, {"source": _readers_source(), "modules": self._modules})


def dumps(obj: Any, kind: type[Pickler] = Pickler) -> bytes:
    """The object pickled, its classes and functions by value where the reader can't import them."""
    stream = io.BytesIO()
    with _lock:
        pickler = kind(stream)
        try:
            pickler.dump(obj)
        finally:
            for module in pickler.by_value:
                _disown(module)
    return stream.getvalue()


def _disown(module: ModuleType) -> None:
    if module.__name__ in cloudpickle.list_registry_pickle_by_value():
        cloudpickle.unregister_pickle_by_value(module)


def public_home(cls: type) -> str | None:
    """The module from which users import a class of Balsam's, or None."""
    for prefix, home in _HOMES.items():
        if str(cls.__module__).startswith(prefix):
            return home if getattr(importlib.import_module(home), cls.__name__, None) is cls else None
    return None


@functools.cache
def _readers_source() -> bytes:
    """As much of cloudpickle as opens what it wrote, compressed; without its comments."""
    tree = ast.parse(inspect.getsource(implementation))
    tree.body = _needed(tree.body)
    return zlib.compress(ast.unparse(tree).encode(), 9)


def _needed(body: list[ast.stmt]) -> list[ast.stmt]:
    """What the functions that readers call use of their module, and its statements that use nothing else."""
    defined = {node.name: node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    wanted = {name for name in defined if name.startswith(_READ_BY)}
    while more := {used for name in wanted for used in _names(defined[name])} & defined.keys() - wanted:
        wanted |= more
    unwanted = defined.keys() - wanted
    return [
        node
        for node in body[1:]  # without the module's docstring
        if getattr(node, "name", None) not in unwanted and not _names(node) & unwanted
    ]


_READ_BY = (
    "_make_",
    "_class_setstate",
    "_function_setstate",
    "subimport",
    "dynamic_subimport",
    "_builtin_type",
    "_get_dataclass_field",
    "_file_reconstructor",
    "_gen_",
)


def _names(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
