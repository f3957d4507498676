"""A run in a warm worker finds what a new interpreter has: nothing of an earlier run is seen.

Kind: state of a process that outlives a run, whatever it is. What can be put back is, in the same process;
otherwise the process has ended, and the next run has another.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from balsam.runtime.python_worker import _has_plain_parameters
from balsam.runtime.requests import AppCode, Kind, Reply, Request
from balsam.runtime.shipped import Reach, _reach
from balsam.runtime.worker_pool import WorkerPool, WorkerSetting
from balsam.schemas import deserialize
from balsam.schemas.reading import UserModules
from balsam.sdk.application import ApplicationDefinition
from balsam.sdk.class_payload import class_payload
from balsam.sdk.parameters import fields_of
from tests.runtime.test_worker_pool import ask_all, job

counter = 0
calls: list[str] = []
settings = {"tolerance": 0.1}


class Actor(ApplicationDefinition):
    """Does to its process what it is told, then says what it finds there."""

    site = 1
    steps: list[int] = []

    def run(self, act: str = "") -> dict[str, Any]:
        if act:
            exec(act, globals())
            return {"pid": os.getpid(), "seen": {}}
        from tests_look import look  # type: ignore[import-not-found]

        mine = {"counter": counter, "calls": calls, "settings": settings, "steps": self.steps}
        return {"pid": os.getpid(), "seen": look() | mine | {"left": hasattr(Actor, "left")}}


LOOK = """
import builtins, decimal, faulthandler, gc, json, locale, logging, os, random, resource, signal, socket, sys
import tempfile, threading, time, warnings, asyncio, multiprocessing, tracemalloc, csv, urllib.request

def look():
    logging_state = {
        name: (log.level, len(log.handlers), log.disabled, log.propagate)
        for name, log in logging.Logger.manager.loggerDict.items() if isinstance(log, logging.Logger)
        if (log.level, len(log.handlers), log.disabled, log.propagate) != (0, 0, False, True)
    }
    umask = os.umask(0o22); os.umask(umask)
    return {
        "streams": [
            (s.closed, s.fileno(), s.encoding, s.line_buffering) for s in (sys.stdin, sys.stdout, sys.stderr)
        ],
        "own": sys.stdout is sys.__stdout__ and sys.stdin is sys.__stdin__,
        "files": sorted(fd for fd in map(int, os.listdir("/proc/self/fd")) if fd < 100),
        "hooks": [sys.excepthook is sys.__excepthook__, sys.displayhook is sys.__displayhook__],
        "timers": [signal.getitimer(n) for n in (0, 1, 2)],
        "handlers": [repr(signal.getsignal(n)).partition(" at ")[0] for n in range(1, 32)],
        "mask": sorted(signal.pthread_sigmask(0, ())),
        "umask": umask,
        "nice": os.getpriority(0, 0),
        "limits": [resource.getrlimit(n) for n in range(16)],
        "cpus": sorted(os.sched_getaffinity(0)),
        "environ": {k: v for k, v in os.environ.items()},
        "cwd": os.path.basename(os.getcwd()),
        "filters": [repr(f) for f in warnings.filters],
        "showwarning": warnings.showwarning.__module__,
        "recursion": sys.getrecursionlimit(),
        "switch": sys.getswitchinterval(),
        "digits": sys.get_int_max_str_digits(),
        "decimal": repr(decimal.getcontext()),
        "new decimal": repr(decimal.DefaultContext),
        "locale": locale.setlocale(locale.LC_ALL),
        "root": (logging.root.level, len(logging.root.handlers), logging.root.manager.disable, logging_state),
        "threads": threading.active_count(),
        "gc": (gc.isenabled(), gc.get_threshold(), gc.get_debug(), len(gc.callbacks)),
        "trace": (sys.gettrace(), sys.getprofile(), threading.gettrace(), tracemalloc.is_tracing()),
        "faults": faulthandler.is_enabled(),
        "path": [p for p in sys.path if "/proc/" not in p],
        "argv": sys.argv,
        "meta": len(sys.meta_path),
        "main": sorted(vars(sys.modules["__main__"])),
        "timeout": socket.getdefaulttimeout(),
        "tempdir": tempfile.tempdir,
        "method": multiprocessing.get_start_method(allow_none=True),
        "policy": asyncio.events._event_loop_policy,
        "zone": time.strftime("%H:%M %Z", time.localtime(0)),
        "loading": (sys.getdlopenflags(), sys.get_coroutine_origin_tracking_depth()),
        "scheduling": os.sched_getscheduler(0),
        "loggers": (logging.getLoggerClass().__name__, logging.getLogRecordFactory().__name__),
        "csv": (csv.field_size_limit(), csv.list_dialects()),
        "opener": urllib.request._opener,
        "wakeup": signal.set_wakeup_fd(-1),
        "names": (builtins.print.__module__, time.time.__module__, json.JSONEncoder.default.__module__),
        "more names": (os.getcwd.__module__, type(random.random.__self__), hasattr(builtins, "profile")),
    }
"""

# What a run may do, and whether its process serves on.
KEPT = {
    "close stdout": "import sys; sys.stdout.close()",
    "replace the streams": "import io, sys; sys.stdout = sys.stderr = io.StringIO(); sys.stdin = None",
    "detach stdout": "import sys; sys.stdout.detach()",
    "close the files of the streams": "import os; os.close(0); os.close(2)",
    "close all files that it knows of": "import os; os.closerange(3, 256)",
    "reconfigure": "import sys; sys.stdout.reconfigure(encoding='latin-1', line_buffering=False)",
    "hooks": "import sys; sys.excepthook = sys.displayhook = sys.unraisablehook = print",
    "alarm": "import signal; signal.alarm(100); signal.setitimer(signal.ITIMER_PROF, 50)",
    "signal handlers": "import signal; signal.signal(15, signal.SIG_IGN); signal.signal(10, print)",
    "umask": "import os; os.umask(0o77)",
    "soft limits": "import resource as r; r.setrlimit(r.RLIMIT_CORE, (0, r.getrlimit(r.RLIMIT_CORE)[1]))",
    "environment": "import os; os.environ['LEFT'] = 'x'; os.environ.pop('HOME'); os.putenv('PATH', '/')",
    "folder": "import os; os.chdir('/')",
    "warnings": "import warnings; warnings.simplefilter('error'); warnings.showwarning = print",
    "recursion": "import sys; sys.setrecursionlimit(50_000); sys.setswitchinterval(0.1)",
    "digits": "import sys; sys.set_int_max_str_digits(0)",
    "decimal": "import decimal; decimal.getcontext().prec = 3; decimal.DefaultContext.prec = 4",
    "locale": "import locale; locale.setlocale(locale.LC_ALL, 'C.UTF-8')",
    "logging": "import logging; logging.basicConfig(filename='log', level=10); logging.disable(50)",
    "a logger": "import logging; g = logging.getLogger('a.b'); g.level = 10; g.propagate = False",
    "warnings to the log": "import logging; logging.captureWarnings(True)",
    "an ended thread": "import threading; threading.Thread(target=print).start()",
    "an ended child": "import subprocess; subprocess.Popen(['true']).wait()",
    "garbage collection": "import gc; gc.disable(); gc.set_threshold(5); gc.callbacks.append(print)",
    "tracing": "import sys, tracemalloc; sys.setprofile(lambda *a: None); tracemalloc.start()",
    "fault handler": "import faulthandler; faulthandler.enable()",
    "search path": "import sys; sys.path.insert(0, '/nowhere'); sys.meta_path.insert(0, sys.meta_path[0])",
    "another search path": "import sys; sys.path = ['/nowhere'] + sys.path; sys.argv.append('x')",
    "socket timeout": "import socket; socket.setdefaulttimeout(3)",
    "start method": "import multiprocessing as m; m.set_start_method('spawn')",
    "event loops": "import asyncio; asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())",
    "names of others": "import builtins as b, time; time.time = b.print = lambda *a: 1; b.profile = 1",
    "methods of others": "import json; json.JSONEncoder.default = lambda self, o: 'x'",
    "temporary folder": "import tempfile; tempfile.tempdir = '/nowhere'",
    "found temporary folder": "import os, tempfile as t; os.environ['TMPDIR'] = os.getcwd(); t.gettempdir()",
    "time zone": "import os, time; os.environ['TZ'] = 'Asia/Tokyo'; time.tzset()",
    "streams that can't be written": "import sys; sys.stdout = sys.stderr = type('S', (), {'flush': 1})()",
    "wakeup": "import os, signal as s; r, w = os.pipe(); os.set_blocking(w, False); s.set_wakeup_fd(w)\n"
    "os.close(r); os.close(w)",
    "loading": "import sys; sys.setdlopenflags(258); sys.set_coroutine_origin_tracking_depth(3)",
    "makers of logs": "import logging as g; g.setLoggerClass(type('L', (g.Logger,), {}))\n"
    "g.setLogRecordFactory(lambda *a: g.LogRecord(*a))",
    "csv": "import csv; csv.field_size_limit(9); csv.register_dialect('mine', delimiter='|')",
    "opener": "import urllib.request as u; u.install_opener(u.build_opener())",
    "names of the script": "import __main__; __main__.left = 1",
    "globals": "counter = 7",
    "a list of the module's": "calls.append('x'); settings['tolerance'] = 5",
    "a list of the class's": "Actor.steps.append(1); Actor.left = 1",
}
ENDS = {
    "niceness": "import os; os.nice(3)",
    "scheduling": "import os; os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))",
    "hooks of forks": "import os; os.register_at_fork(before=print)",
    "an audit hook": "import sys; sys.addaudithook(lambda *a: None)",
    "a function that is gone": "import os; os.getpriority = None",
    "an orphan": "import subprocess; subprocess.run(['sh', '-c', 'sleep 600 &'], stdout=-3)",
    "a thread without a name": "import _thread, time; lock = _thread.allocate_lock(); lock.acquire()\n"
    "_thread.start_new_thread(lambda: (lock.release(), time.sleep(600)), ()); lock.acquire()",
    "a file in memory": "import colorsys as c; c.left = open('/dev/shm/left-by-a-test', 'w')",
    "hard limits": "import resource as r; r.setrlimit(r.RLIMIT_CORE, (0, 0))",
    "masked signals": "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [10])",
    "an open file": "import colorsys as c; c.left = open('left', 'w'); c.left.write('held back')",
    "a server": "import socket, colorsys as c; c.left = socket.create_server(('127.0.0.1', 0))",
    "a thread": "import threading as t, time; t.Thread(target=time.sleep, args=(600,), daemon=True).start()",
    "a child": "import subprocess; subprocess.Popen(['sleep', '600'])",
    "a module that is gone": "import sys; del sys.modules['json']",
}
ENVIRONMENT = {name: text for name, text in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
ACTOR = AppCode(1, "Actor", class_payload(Actor))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerPool]:
    site = tmp_path_factory.mktemp("site")
    (site / "tests_look.py").write_text(LOOK)
    pool = WorkerPool(1, WorkerSetting(str(site), ENVIRONMENT))
    yield pool
    pool.close()


Act = Callable[[str], dict[str, Any]]


@pytest.fixture
def act(pool: WorkerPool, tmp_path: Path) -> Act:
    (tmp_path / "tests_look.py").write_text(LOOK)

    def act(what: str) -> dict[str, Any]:
        reply = run(pool, tmp_path, what)
        assert reply.ok, reply.error
        found: dict[str, Any] = deserialize(reply.serialized_return_value)
        return found

    return act


def run(pool: WorkerPool, workdir: Path, what: str, code: AppCode = ACTOR) -> Reply:
    parameters = {"act": what} if what else {}
    return ask_all(pool, [Request(Kind.run, code, job(parameters), str(workdir))])[0]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run finds in a process that has served none."""
    folder = tmp_path_factory.mktemp("fresh")
    (folder / "tests_look.py").write_text(LOOK)
    pool = WorkerPool(1, WorkerSetting(str(folder), ENVIRONMENT))
    reply = run(pool, folder, "")
    pool.close()
    found: dict[str, Any] = deserialize(reply.serialized_return_value)["seen"]
    return found


def differences(seen: dict[str, Any], fresh: dict[str, Any]) -> dict[str, Any]:
    own = ("cwd", "path")  # each run has a folder of its own
    return {
        name: (value, fresh[name]) for name, value in seen.items() if value != fresh[name] and name not in own
    }


@pytest.mark.parametrize("what", KEPT)
def test_what_a_run_changes_is_put_back(act: Act, fresh: dict[str, Any], tmp_path: Path, what: str) -> None:
    before = act("")["pid"]
    first = act(KEPT[what])
    after = act("")
    assert differences(after["seen"], fresh) == {}
    assert after["seen"]["cwd"] == tmp_path.name
    assert after["seen"]["path"][:-1] == fresh["path"][:-1] and after["seen"]["path"][-1] == str(tmp_path)
    assert first["pid"] == before
    assert after["pid"] == before, "the process could have served on"


@pytest.mark.parametrize("what", ENDS)
def test_what_can_not_be_put_back_ends_the_process(
    act: Act, fresh: dict[str, Any], tmp_path: Path, what: str
) -> None:
    before = act("")["pid"]
    act(ENDS[what])
    after = act("")
    assert differences(after["seen"], fresh) == {}
    assert after["pid"] != before
    if what == "an open file":
        assert (tmp_path / "left").read_text() == "held back"


CASE = """
print("importing")
value = {value}
runs = 0
"""


class Imports(ApplicationDefinition):
    site = 1

    def run(self) -> Any:
        import case_setup  # type: ignore[import-not-found]

        case_setup.runs += 1
        return case_setup.value, case_setup.runs, os.getpid()


def test_modules_of_a_workdir_are_those_of_the_run(pool: WorkerPool, tmp_path: Path) -> None:
    code = AppCode(2, "Imports", class_payload(Imports))
    found = []
    for value in (1, 2, 3):
        folder = tmp_path / str(value)
        folder.mkdir()
        (folder / "case_setup.py").write_text(CASE.format(value=value))
        found.append(deserialize(run(pool, folder, "", code).serialized_return_value))
    assert [(value, runs) for value, runs, _ in found] == [(1, 1), (2, 1), (3, 1)]
    assert len({pid for *_, pid in found}) == 1


class Shadowed(ApplicationDefinition):
    site = 1

    def run(self) -> Any:
        import random
        import select

        return random.__file__, hasattr(select, "epoll")


def test_no_file_of_a_workdir_stands_for_a_module_of_python(pool: WorkerPool, tmp_path: Path) -> None:
    for name in ("random.py", "select.py", "orjson.py"):
        (tmp_path / name).write_text("raise SystemExit('a script of the user')")
    code = AppCode(3, "Shadowed", class_payload(Shadowed))
    file, is_right = deserialize(run(pool, tmp_path, "", code).serialized_return_value)
    assert is_right and not file.startswith(str(tmp_path))


class Sciences(ApplicationDefinition):
    """Changes what scientific libraries keep, or says what is there."""

    site = 1

    def run(self, act: str = "") -> Any:
        import random

        import matplotlib
        import numpy
        from matplotlib import pyplot

        if act:
            random.seed(1)
            numpy.random.seed(1)
            numpy.seterr(all="raise")
            numpy.seterrcall(print)
            numpy.set_printoptions(precision=2, linewidth=200)
            matplotlib.rcParams["lines.linewidth"] = 9.0
            pyplot.figure()
            return os.getpid(), (), ()
        settings = (
            numpy.geterr()["over"],
            numpy.geterrcall(),
            numpy.get_printoptions()["precision"],
            numpy.get_printoptions()["linewidth"],
            matplotlib.rcParams["lines.linewidth"],
            pyplot.get_fignums(),
        )
        return os.getpid(), settings, (random.random(), float(numpy.random.random()))


def test_libraries_are_as_they_were_imported(pool: WorkerPool, tmp_path: Path) -> None:
    """Kind: state inside of well-known packages: settings, figures, random numbers that nobody has chosen."""
    code = AppCode(4, "Sciences", class_payload(Sciences))
    found = [
        deserialize(run(pool, tmp_path, act, code).serialized_return_value) for act in ("", "x", "", "x", "")
    ]
    assert len({pid for pid, *_ in found}) == 1
    first, second, third = found[::2]
    assert second[1] == third[1] == first[1] == ("warn", None, 8, 75, 1.5, [])
    for ours, theirs in zip(second[2], third[2], strict=True):
        assert ours != theirs, "both would be what follows seed(1)"


JUDGED = {
    "nothing of others": ("def run(self): self.x = [1]; return len(self.x)", Reach(False, False)),
    "an import": ("def run(self): import os", Reach(False, True)),
    "another's attribute": ("def run(self): self.job.data = 1", Reach(True, False)),
    "a function's first argument": ("@staticmethod\n    def run(m): m.left = 1", Reach(True, False)),
    "no argument at all": ("@staticmethod\n    def run(): len(()).left = 1", Reach(True, False)),
    "what a decorator holds": ("@held\n    def run(self): import os", Reach(False, True)),
    "what a default holds": ("def run(self, f=logging): f.disable()", Reach(False, True)),
    "what a class holds": ("class A:\n        class B:\n            log = logging", Reach(False, True)),
    "what a list holds": ("held = [(1, {'x': logging})]", Reach(False, True)),
    "a way to anything": ("def run(self): return print.__self__", Reach(True, True)),
}


@pytest.mark.parametrize("what", JUDGED)
def test_code_is_judged_with_all_that_it_holds(what: str) -> None:
    """Kind: how much is compared depends on an app's text, wherever in the app that text is."""
    text, reach = JUDGED[what]
    space: dict[str, Any] = {"__name__": "__main__", "App": ApplicationDefinition, "logging": logging}
    head = "def held(f):\n    def wrapper(self): return f(self)\n    return wrapper\n"
    exec(f"{head}class Judged(App):\n    site = 1\n    {text}\n", space)
    assert _reach(space["Judged"], UserModules()) == reach


def test_parameters_that_are_objects_may_do_anything() -> None:
    assert _has_plain_parameters(fields_of({"x": [1, "two"]}, "w"))
    assert not _has_plain_parameters(fields_of({"x": print}, "w"))


def test_a_watchdog_ends_with_its_run(act: Act) -> None:
    """Kind: what a run has set to happen later happens to none after it."""
    pid = act("import faulthandler; faulthandler.dump_traceback_later(0.1, exit=True)")["pid"]
    assert act("import time; time.sleep(0.3)")["pid"] == pid


def test_the_time_zone_of_a_run_is_that_of_its_environment(pool: WorkerPool, tmp_path: Path) -> None:
    """Kind: variables that a program reads when it starts."""
    code = AppCode(4, "Zone", class_payload(Zone))
    found = []
    for zone in ("Asia/Tokyo", "UTC"):
        request = Request(Kind.run, code, job(), str(tmp_path), {"TZ": zone})
        found.append(deserialize(ask_all(pool, [request])[0].serialized_return_value))
    assert found == ["09:00", "00:00"]


class Zone(ApplicationDefinition):
    site = 1

    def run(self) -> str:
        return time.strftime("%H:%M", time.localtime(0))


def test_a_run_ends_well_whatever_became_of_its_site_meanwhile(tmp_path: Path) -> None:
    """Kind: what a worker does after a run, held against the run."""
    site = tmp_path / "site"
    site.mkdir()
    pool = WorkerPool(1, WorkerSetting(str(site), ENVIRONMENT))
    found = [run(pool, tmp_path / "w", act) for act in (f"import os; os.rename({str(site)!r}, 'gone')", "1")]
    pool.close()
    assert [reply.ok for reply in found] == [True, True]


def test_a_workdir_that_can_not_be_entered_is_told_in_one_sentence(pool: WorkerPool, tmp_path: Path) -> None:
    """Kind: a step that could not begin, told as an error of the user's code."""
    (tmp_path / "w").touch()
    assert run(pool, tmp_path / "w", "1").error == f"can't enter the workdir {tmp_path}/w: Not a directory"


def test_a_run_that_closes_its_workers_connection_is_told_so(pool: WorkerPool, tmp_path: Path) -> None:
    reply = run(pool, tmp_path, "import os; os.closerange(0, 10_000)")
    assert reply.crashed and "closed the connection" in reply.error


AT_EXIT = """
import atexit, weakref, threading, time
def late():
    time.sleep(0.2)
    print("thread")
threading.Thread(target=late).start()
atexit.register(print, "first")
atexit.register(lambda: 1 / 0)
atexit.register(print, "last")
atexit.unregister(len)
print("run")
"""


def test_a_run_ends_as_a_script_does(act: Act, tmp_path: Path) -> None:
    """Threads are waited for, exit functions are called in order, and their errors are seen; once."""
    act(AT_EXIT)
    lines = (tmp_path / "job.out").read_text().splitlines()
    act("")
    assert (tmp_path / "job.out").read_text() == ""
    told = [line for line in lines if line in ("run", "thread", "first", "last")]
    assert told == ["run", "thread", "last", "first"]
    assert "ZeroDivisionError: division by zero" in lines


def test_a_child_that_comes_back_from_run_answers_nothing(act: Act) -> None:
    pids = [act(text)["pid"] for text in ("import os; os.fork()", "", "", "")]
    assert len(set(pids[1:])) == 1
