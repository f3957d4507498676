"""Opens pickles of users' own classes and functions so that they are the ones that the reader has already.

A pickle by value makes a class anew. Where the reader's program has a class of that name, which it compares
with and catches by, that one is meant. A process that runs an app has no modules of the user's: they are made
from the app's pickle, in `UserModules`, so that what is defined there has one home and can be imported.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Callable, Iterable
from io import BytesIO
from types import FunctionType, ModuleType
from typing import Any

from cloudpickle import cloudpickle as implementation

from balsam.schemas.portable import FINDABLE, arrived
from balsam.schemas.user_code import SCRIPTS

_MODULE = "cloudpickle.cloudpickle"


class UserModules:
    """Modules that are made from a pickle; their namespaces are those that their functions see."""

    def __init__(self) -> None:
        self.by_name: dict[str, ModuleType] = {}
        self._names: frozenset[str] = frozenset()

    def admit(self, names: Iterable[str]) -> None:
        """From now on these are made here."""
        self._names |= frozenset(names)

    def home(self, name: object) -> ModuleType | None:
        """The module of that name; None for one that is not made here."""
        if not isinstance(name, str) or name not in self._names:
            return None
        if name not in self.by_name:
            self.by_name[name] = ModuleType(name)
            parent, _, own = name.rpartition(".")
            if parent and (package := self._package(parent)) is not None:
                setattr(package, own, self.by_name[name])
        return self.by_name[name]

    def _package(self, name: str) -> ModuleType | None:
        package = self.home(name)
        if package is not None:
            vars(package).setdefault("__path__", [])
        return package

    def keep(self, made: type | FunctionType) -> None:
        """A class or function can be found in its module under its own name."""
        home = self.home(made.__module__)
        if home is not None and made.__qualname__ == made.__name__:
            vars(home).setdefault(made.__name__, made)


class Reader(pickle.Unpickler):
    """Finds what is there already, and makes the rest.

    `modules`: where the user's modules are made; None: what the reader has imported, or can import, counts.
    """

    def __init__(self, raw: bytes, modules: UserModules | None = None) -> None:
        super().__init__(BytesIO(raw))
        self._modules = modules
        self._found: set[int] = set()
        self._kept: list[Any] = []  # ids are theirs as long as they are there
        self._steps: dict[tuple[str, str], Callable[..., Any]] = {
            ("builtins", "exec"): self._prepare,
            (_MODULE, "_make_function"): self._function,
            (_MODULE, "_function_setstate"): self._fill_function,
            (_MODULE, "_make_skeleton_class"): self._class,
            (_MODULE, "_make_skeleton_enum"): self._enum,
            (_MODULE, "_class_setstate"): self._fill_class,
            (_MODULE, "dynamic_subimport"): self._module,
        }

    def find_class(self, module: str, name: str) -> Any:
        step = self._steps.get((module, name))
        return super().find_class(module, name) if step is None else step

    # ---- in place of cloudpickle's own steps ----

    def _prepare(self, text: str, variables: dict[str, Any], *more: Any) -> None:
        if "source" not in variables or "import cloudpickle" not in text:
            exec(text, variables, *more)  # the user's own `exec`, sent as a value
        elif self._modules is not None:
            self._modules.admit(variables.get("modules", ()))

    def _function(
        self, code: Any, namespace: dict[str, Any], name: str, defaults: Any, closure: Any
    ) -> FunctionType:
        module = namespace.get("__name__")
        if self._modules is None:
            found = _importable(module, code.co_qualname)
            if isinstance(found, FunctionType) and found.__code__ == code:
                self._is_found(found)
                return found
        elif (home := self._modules.home(module)) is not None:
            for key, value in namespace.items():
                if vars(home).get(key) is None:
                    vars(home)[key] = value
            namespace = vars(home)
        made: FunctionType = implementation._make_function(code, namespace, name, defaults, closure)
        return made

    def _fill_function(self, function: FunctionType, state: Any) -> None:
        if id(function) in self._found:
            return
        implementation._function_setstate(function, state)
        if self._modules is not None:
            self._modules.keep(function)

    def _class(
        self, kind: Any, name: str, bases: Any, keywords: dict[str, Any], tracker: str | None, extra: Any
    ) -> type:
        module, qualname = keywords.get("__module__"), keywords.get("__qualname__", name)
        if (found := self._there(module, qualname, extra)) is not None:
            return found
        own = None if self._modules is not None else tracker
        return self._new(
            implementation._make_skeleton_class(kind, name, bases, keywords, own, extra), tracker, extra
        )

    def _enum(
        self, bases: Any, name: str, qualname: str, members: Any, module: str, tracker: str | None, extra: Any
    ) -> type:
        if (found := self._there(module, qualname, extra)) is not None:
            return found
        own = None if self._modules is not None else tracker
        made = implementation._make_skeleton_enum(bases, name, qualname, members, module, own, extra)
        return self._new(made, tracker, extra)

    def _fill_class(self, cls: type, state: Any) -> type:
        if id(cls) not in self._found:
            implementation._class_setstate(cls, state)
        return cls

    def _module(self, name: str, content: dict[str, Any]) -> ModuleType:
        home = self._modules.home(name) if self._modules is not None else None
        if home is None:
            made: ModuleType = implementation.dynamic_subimport(name, content)
            return made
        vars(home).update(content)
        return home

    # ---- what is there ----

    def _there(self, module: object, qualname: str, extra: Any) -> type | None:
        if self._modules is not None or not (extra or {}).get(FINDABLE):
            return None
        found = _importable(module, qualname)
        if not isinstance(found, type):
            return None
        self._is_found(found)
        return found

    def _is_found(self, found: type | FunctionType) -> None:
        self._found.add(id(found))
        self._kept.append(found)

    def _new(self, made: type, tracker: str | None, extra: Any) -> type:
        """A class of the user's modules; what is sent back of it says the same id, so that readers agree."""
        if (extra or {}).get(FINDABLE):
            arrived.add(made)
        if self._modules is not None:
            if tracker is not None:
                with implementation._DYNAMIC_CLASS_TRACKER_LOCK:
                    implementation._DYNAMIC_CLASS_TRACKER_BY_ID[tracker] = made
                    implementation._DYNAMIC_CLASS_TRACKER_BY_CLASS[made] = tracker
            self._modules.keep(made)
        return made


def _importable(module: object, qualname: str) -> Any:
    """What this program knows under that name, or can import; None if it knows nothing of the kind."""
    if not isinstance(module, str) or "<" in qualname:
        return None
    found: Any = _imported("__main__" if module in SCRIPTS else module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


def _imported(name: str) -> ModuleType | None:
    module = sys.modules.get(name)
    if module is not None or name == "__main__":
        return module
    try:
        return importlib.import_module(name)
    except Exception:  # it runs the user's code, and may be there and not work: then the sent copy serves
        return None
