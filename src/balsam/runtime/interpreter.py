"""What a run finds in its interpreter: recorded before the first one, compared and put back after each.

A warm worker serves one run after the other, and each is to find what a new interpreter has. Whatever can be
compared in a microsecond or so is looked at here. What can be put back is; what can't is told, and the worker
ends.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # signal's own functions make enums, which takes longer
import contextlib
import copyreg
import faulthandler
import functools
import gc
import importlib
import json
import linecache
import locale
import logging
import os
import pathlib
import random
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from types import ModuleType
from typing import Any

from balsam.runtime.libraries import put_libraries_back
from balsam.runtime.shipped import Reach
from balsam.schemas.user_code import is_installed

# Modules whose names are always compared, and those that are where something may have been put into them.
ALWAYS = ("builtins", "sys")
WATCHED = (
    *ALWAYS,
    *"""
    os posixpath io time math random json json.encoder json.decoder signal warnings logging threading
    subprocess socket shutil pathlib tempfile decimal datetime functools itertools collections copyreg
    pickle types gc locale string copy inspect traceback multiprocessing concurrent.futures asyncio
    asyncio.events numpy numpy.random pandas scipy requests urllib.request
    """.split(),  # noqa: SIM905 - a list of these in quotes is hard to read
)
WATCHED_CLASSES = (
    json.JSONEncoder,
    json.JSONDecoder,
    logging.Logger,
    logging.Handler,
    logging.Formatter,
    threading.Thread,
    pathlib.Path,
)
_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
_SIGNALS = tuple(sorted(int(number) for number in signal.valid_signals()))
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
# Those of crashes are refused by `faulthandler.register`, and so are two that no program can handle.
_OF_FAULTS = {
    signal.SIGSEGV,
    signal.SIGFPE,
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGILL,
    signal.SIGKILL,
    signal.SIGSTOP,
}
_LASTING = ((os, "register_at_fork"), (sys, "addaudithook"))
_MISSING = object()
_ALWAYS = len(ALWAYS)
_STREAMS = {
    f"{mark}{name}{mark}" for name in ("stdin", "stdout", "stderr") for mark in ("", "__")
}  # see capture
_limits_at_start = tuple(map(resource.getrlimit, _LIMITS))


class NotPutBack(Exception):
    """What can't be as it was; the worker ends."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something of the process that is one value. `put`: None where nothing can be done about it."""

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], object] | None = None


def _limits() -> tuple[tuple[int, int], ...]:
    # Sixteen calls of the kernel; who changes limits has imported the module, which this one then gave away.
    return tuple(map(resource.getrlimit, _LIMITS)) if "resource" in sys.modules else _limits_at_start


def _put_limits(before: Iterable[tuple[int, int]]) -> None:
    for kind, pair in zip(_LIMITS, before, strict=True):
        if resource.getrlimit(kind) != pair:
            resource.setrlimit(kind, pair)


def _handlers() -> tuple[Any, ...]:
    return tuple(map(_signal.getsignal, _SIGNALS))


def _put_handlers(before: Iterable[Any]) -> None:
    for number, handler in zip(_SIGNALS, before, strict=True):
        if _signal.getsignal(number) is not handler:
            _signal.signal(number, handler)


def _masked() -> set[int]:
    return set(_signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def _collection() -> tuple[Any, ...]:
    return gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.get_freeze_count()


def _put_collection(before: tuple[Any, ...]) -> None:
    (gc.enable if before[0] else gc.disable)()
    gc.set_threshold(*before[1])
    gc.set_debug(before[2])
    if not before[3]:
        gc.unfreeze()


def _put_locale(before: str) -> None:
    locale.setlocale(locale.LC_ALL, before)


def _umask() -> int:
    mask = os.umask(0o22)
    os.umask(mask)
    return mask


def _traced() -> tuple[Any, ...]:
    return sys.gettrace(), sys.getprofile(), threading.gettrace(), threading.getprofile()


def _put_traced(before: tuple[Any, ...]) -> None:
    sys.settrace(before[0])
    sys.setprofile(before[1])
    threading.settrace(before[2])
    threading.setprofile(before[3])


def _forget_fault_signals() -> None:
    for number in _SIGNALS:
        if number not in _OF_FAULTS:
            faulthandler.unregister(number)


def _put_faults(before: bool) -> None:
    if not before:
        faulthandler.disable()


FACTS = (
    Fact("its niceness", lambda: os.getpriority(os.PRIO_PROCESS, 0)),
    Fact("its scheduling", lambda: os.sched_getscheduler(0)),
    Fact("its users and groups", lambda: (os.getresuid(), os.getresgid())),
    Fact("limits of its process", _limits, _put_limits),
    Fact("its processors", lambda: os.sched_getaffinity(0), lambda before: os.sched_setaffinity(0, before)),
    Fact("the umask", _umask, os.umask),
    Fact("signal handlers", _handlers, _put_handlers),
    Fact("masked signals", _masked),
    Fact("the locale", lambda: locale.setlocale(locale.LC_ALL), _put_locale),
    Fact("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Fact("the switch interval", sys.getswitchinterval, sys.setswitchinterval),
    Fact("the digits of integers", sys.get_int_max_str_digits, sys.set_int_max_str_digits),
    Fact("garbage collection", _collection, _put_collection),
    Fact("tracing", _traced, _put_traced),
    Fact("the fault handler", faulthandler.is_enabled, _put_faults),
    Fact("hooks of generators", sys.get_asyncgen_hooks, lambda before: sys.set_asyncgen_hooks(*before)),
    Fact("the stack size of threads", threading.stack_size, threading.stack_size),
    Fact("the flags of libraries", sys.getdlopenflags, sys.setdlopenflags),
    Fact(
        "the tracking of coroutines",
        sys.get_coroutine_origin_tracking_depth,
        sys.set_coroutine_origin_tracking_depth,
    ),
)


class Facts:
    """All of FACTS, looked at together."""

    def __init__(self) -> None:
        self._gets = [fact.get for fact in FACTS]
        self._before = [get() for get in self._gets]

    def put_back(self) -> None:
        for kind in _TIMERS:
            signal.setitimer(kind, 0)
        faulthandler.cancel_dump_traceback_later()  # it may have been told to end the process
        signal.set_wakeup_fd(-1)
        now = [get() for get in self._gets]
        if now == self._before:
            return
        for fact, value, before in zip(FACTS, now, self._before, strict=True):
            if value == before:
                continue
            try:
                assert fact.put is not None
                fact.put(before)
                assert fact.get() == before
            except Exception as exc:  # e.g. a limit that was lowered for good
                raise NotPutBack(fact.name) from exc


class Names:
    """The names in modules and classes that programs share, and the lists that they add to."""

    def __init__(self) -> None:
        self._spaces: list[_Space] = []
        self._known: set[str] = set()
        self._lists: list[tuple[list[Any], list[Any]]] = []
        self._dicts: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
        for content in (sys.path, sys.argv, sys.path_hooks, sys.meta_path, sys.warnoptions, gc.callbacks):
            self._lists.append((content, list(content)))
        self._dicts.append((copyreg.dispatch_table, dict(copyreg.dispatch_table)))
        self.watch()
        self._spaces[_ALWAYS:_ALWAYS] = [_Space(cls) for cls in WATCHED_CLASSES]

    def watch(self) -> None:
        """Those of WATCHED that were imported since."""
        for name in WATCHED:
            module = sys.modules.get(name)
            if name not in self._known and isinstance(module, ModuleType):
                self._known.add(name)
                self._spaces.append(_Space(module))

    def put_back(self, imported: bool, thorough: bool) -> None:
        """`thorough`: look at all of them.

        `imported`: the run has imported installed packages, which may have added to what is shared."""
        for space in self._spaces if thorough or imported else self._spaces[:_ALWAYS]:
            space.put_back()
        for content, items in self._lists:
            if content != items:
                _put_list(content, items, imported)
        for table, entries in self._dicts:
            if len(table) != len(entries) or table != entries:
                _put_table(table, entries, imported)


class _Space:
    """The names of one module or class, and what they stand for."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self._note()

    def _note(self) -> None:
        self._content = vars(self._owner)
        self._before = dict(self._content)
        self._values = list(self._content.values())  # are compared faster than the names with them

    def put_back(self) -> None:
        try:
            if list(self._content.values()) == self._values:
                return
        except Exception:  # values that can't be compared, such as arrays
            pass
        for name, value in self._before.items():
            if self._content.get(name, _MISSING) is not value and name not in _STREAMS:
                setattr(self._owner, name, value)
        for name in [name for name in self._content if name not in self._before]:
            if not isinstance(self._content[name], ModuleType):  # a submodule that was imported stays
                delattr(self._owner, name)
        self._note()


def _put_list(content: list[Any], before: list[Any], imported: bool) -> None:
    if imported:  # importers, for example, belong to the packages that are there from now on
        before[:] = before + [item for item in content if item not in before and _is_installed_code(item)]
    content[:] = before


def _put_table(table: dict[Any, Any], before: dict[Any, Any], imported: bool) -> None:
    if imported:
        before.update(
            {key: value for key, value in table.items() if key not in before and _is_installed_code(value)}
        )
    table.clear()
    table.update(before)


def _is_installed_code(item: Any) -> bool:
    """Whether an object, or its class, was defined by an installed package."""
    name = getattr(item, "__module__", None) or type(item).__module__
    file = getattr(sys.modules.get(name), "__file__", None)
    return not isinstance(item, str) and (file is None or is_installed(file)) and name != "__main__"


class Imports:
    """What a run has imported: installed packages stay, modules of the user's go."""

    def __init__(self) -> None:
        self._note()
        self._searched = set(sys.path_importer_cache)

    def _note(self) -> None:
        self._known = dict(sys.modules)
        self._modules = list(sys.modules.values())

    def put_back(self) -> bool:
        """Whether installed packages were imported."""
        if list(sys.modules.values()) == self._modules:
            return False
        for name, module in self._known.items():
            if sys.modules.get(name) is not module:
                raise NotPutBack(f"another module {name}, or none")
        new = sys.modules.keys() - self._known.keys()
        own = [name for name in new if not _is_installed_module(sys.modules[name])]
        for name in own:
            file = getattr(sys.modules[name], "__file__", None)
            if isinstance(file, str) and file.endswith(tuple(EXTENSION_SUFFIXES)):
                raise NotPutBack(f"a compiled module of the user's, {name}")
        for name in own:
            del sys.modules[name]
            parent, _, last = name.rpartition(".")
            if parent in sys.modules:
                with contextlib.suppress(AttributeError):
                    delattr(sys.modules[parent], last)
        if own:
            self._forget_folders()
        self._note()
        return len(new) > len(own)

    def _forget_folders(self) -> None:
        """The next run may find other files in them."""
        for folder in sys.path_importer_cache.keys() - self._searched:
            if not is_installed(folder):
                del sys.path_importer_cache[folder]
        importlib.invalidate_caches()
        linecache.clearcache()


def _is_installed_module(module: Any) -> bool:
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return is_installed(file)
    places = getattr(module, "__path__", None)  # of a namespace package
    return places is None or all(is_installed(str(place)) for place in places)


class Logs:
    """Loggers, levels and handlers, as they were."""

    def __init__(self) -> None:
        self._before: dict[Any, Any] = {}
        self._note()
        self._levels = dict(logging._levelToName)
        self._manager = (logging.root.manager.disable, logging.root.manager.loggerClass)
        self._makers = (logging.getLoggerClass(), logging.getLogRecordFactory())

    def put_back(self) -> None:
        manager = logging.root.manager
        loggers = [logging.root, *manager.loggerDict.values()]
        if len(loggers) != len(self._before) or any(
            self._before.get(log) != _log_state(log) for log in loggers
        ):
            self._put_loggers(loggers)
        if (manager.disable, manager.loggerClass) != self._manager:
            manager.disable, manager.loggerClass = self._manager
            _forget_enabled(manager)
        if (logging.getLoggerClass(), logging.getLogRecordFactory()) != self._makers:
            logging.setLoggerClass(self._makers[0])
            logging.setLogRecordFactory(self._makers[1])
        if logging._levelToName != self._levels:
            logging._levelToName.clear()
            logging._levelToName.update(self._levels)
            logging._nameToLevel.clear()
            logging._nameToLevel.update({name: level for level, name in self._levels.items()})
            logging._nameToLevel["WARN"], logging._nameToLevel["FATAL"] = logging.WARNING, logging.FATAL

    def _put_loggers(self, loggers: list[Any]) -> None:
        for log in loggers:
            if not isinstance(log, logging.Logger):
                continue
            handlers, filters, level, disabled, propagate = self._before.get(log) or _unset(log)
            for handler in log.handlers:
                if handler not in handlers:
                    with contextlib.suppress(Exception):  # as logging itself does at the end of a program
                        handler.flush()
                        handler.close()
            log.handlers[:], log.filters[:] = handlers, filters
            log.level, log.disabled, log.propagate = level, disabled, propagate
        _forget_enabled(logging.root.manager)
        self._note()

    def _note(self) -> None:
        loggers = [logging.root, *logging.root.manager.loggerDict.values()]
        self._before = {log: _log_state(log) for log in loggers}


def _log_state(log: Any) -> Any:
    if not isinstance(log, logging.Logger):
        return None  # a name that only has children
    return [*log.handlers], [*log.filters], log.level, log.disabled, log.propagate


def _unset(log: logging.Logger) -> tuple[Any, ...]:
    """What a logger that is new has: what its package gave it to be silent stays."""
    silent = [handler for handler in log.handlers if isinstance(handler, logging.NullHandler)]
    return silent, [], logging.NOTSET, False, True


def _forget_enabled(manager: logging.Manager) -> None:
    for log in [logging.root, *manager.loggerDict.values()]:
        if isinstance(log, logging.Logger):
            log._cache.clear()  # type: ignore[attr-defined]


class Warned:
    """Which warnings are shown, and which were shown already."""

    def __init__(self) -> None:
        self._filters = list(warnings.filters)

    def put_back(self) -> None:
        if warnings.filters != self._filters:
            warnings.filters[:] = self._filters  # type: ignore[index]
        warnings.onceregistry.clear()  # type: ignore[attr-defined]
        # All that modules remember of what they have warned of is out of date by that.
        getattr(warnings, "_filters_mutated", getattr(warnings, "_filters_mutated_lock_held", lambda: None))()


class Lasting:
    """Functions of Python of which nothing is ever undone: who calls them, a run or a package, is noted."""

    def __init__(self) -> None:
        self._called = ""
        for owner, name in _LASTING:
            function = getattr(owner, name)
            setattr(owner, name, self._noting(getattr(function, "__wrapped__", function)))

    def _noting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def noting(*args: Any, **kwargs: Any) -> Any:
            if not _is_of_a_package(sys._getframe(1).f_globals):  # which does so in any process
                self._called = function.__name__
            return function(*args, **kwargs)

        return noting

    def check(self) -> None:
        if self._called:
            raise NotPutBack(f"what {self._called}() has set")


def _is_of_a_package(names: dict[str, Any]) -> bool:
    """Whether code with these names is; what a compiled one does on import, the importer does."""
    file = names.get("__file__")
    return (
        is_installed(file) if isinstance(file, str) else str(names.get("__name__")).startswith("importlib.")
    )


class Interpreter:
    """Records at once; `put_back` after each run tells what can't be as it was, "" if all is."""

    def __init__(self) -> None:
        sys.modules.pop("resource", None)  # who imports it from now on may change limits
        self._lasting = Lasting()
        self._imports = Imports()
        self._names = Names()
        self._facts = Facts()
        self._logs = Logs()
        self._warned = Warned()

    def put_back(self, reach: Reach) -> str:
        """`reach`: of the run's code, which decides how much has to be looked at."""
        try:
            self._lasting.check()
            imported = self._imports.put_back()
            if not (imported or reach.uses or reach.assigns):
                return ""
            self._facts.put_back()
            self._names.put_back(imported, reach.assigns)
            self._logs.put_back()
            self._warned.put_back()
            _forget_fault_signals()
            random.seed(int.from_bytes(os.urandom(16)))  # as good as more of it, which takes longer
            put_libraries_back()
        except NotPutBack as exc:
            return str(exc)
        if imported:
            self._names.watch()
        return ""
