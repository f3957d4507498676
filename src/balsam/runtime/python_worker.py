"""A warm child that runs users' app classes; `core.start` starts one.

It serves requests of a `WorkerPool` over an inherited socket, one at a time, until the stream ends.
"""

from __future__ import annotations

import contextlib
import contextvars
import errno
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from types import TracebackType
from typing import Any

import orjson

from balsam.core.clock import now_us
from balsam.core.cutting import without_middle
from balsam.core.limits import MAX_PAYLOAD_CHARS
from balsam.core.start import scripts_path
from balsam.runtime import job_output
from balsam.runtime.capture import NotWritable, Output, flush, high, opened
from balsam.runtime.children import NODE_SHORT
from balsam.runtime.endings import ExitFunctions, finish_threads
from balsam.runtime.frames import CLOSED_CODE, frame, receive
from balsam.runtime.interpreter import Interpreter
from balsam.runtime.job_output import JOB_OUTPUT, Attempt
from balsam.runtime.leftovers import Leftovers, write_out
from balsam.runtime.preamble import run_behind
from balsam.runtime.shipped import EVERYWHERE, AppClass, ShippedApp
from balsam.runtime.site_client import lazy_client
from balsam.schemas.payloads import SerializeError, describe_exception, serialize, serialize_exception
from balsam.schemas.reading import UserModules
from balsam.sdk.application import ApplicationDefinition, ModuleLoadError
from balsam.sdk.apps import App
from balsam.sdk.context import use_client
from balsam.sdk.jobs import Job

HOOK_OUTPUT = "balsam.log"
RUN = "run"
ERROR_LINES = 15

Answer = dict[str, Any]
Step = Callable[[str, ApplicationDefinition, "Ends"], Answer]
Steps = Mapping[str, Step]


@dataclass(frozen=True)
class Ends:
    """Where a step's output goes, and what is done at its end."""

    output: Output
    exits: ExitFunctions


class Worker:
    """Carries out requests; keeps the app classes that it has loaded."""

    def __init__(self, site_path: Path) -> None:
        self._home = str(site_path)
        self._apps: dict[tuple[int, str], ShippedApp] = {}
        self._client, self._rest = lazy_client(site_path)
        self._ends = Ends(Output(), ExitFunctions())
        self._reach = EVERYWHERE
        self._environment = _Environment()
        use_client(self._client)

    def serve(self, link: socket.socket) -> None:
        """Greets, then answers each request, until the other end closes.

        After a step that leaves what would harm the next one it says so, and answers nothing more.
        """
        getpid = os.getpid  # a run may put something else in its place
        pid = getpid()
        interpreter = Interpreter()
        link.sendall(frame(b"{}"))
        leftovers = Leftovers()
        left = ""
        while (body := receive(link)) is not None:
            if left:
                continue
            request = orjson.loads(body)
            answer = self.answer(request)
            if getpid() != pid:  # a child that user code has forked, and that came back from it
                flush()
                os._exit(answer.get("return_code", 0))
            if request["job"] is None:
                interpreter = Interpreter()  # with what the class has imported
            else:
                left = self._left(interpreter, leftovers)
            self._send(link, {**answer, "worn": left})

    def _send(self, link: socket.socket, answer: Answer) -> None:
        try:
            link.sendall(frame(encode(answer)))
        except OSError as exc:
            if exc.errno in (errno.EBADF, errno.ENOTSOCK):  # closed, and perhaps something else by now
                os._exit(CLOSED_CODE)
            raise

    def _left(self, interpreter: Interpreter, leftovers: Leftovers) -> str:
        try:
            left = interpreter.put_back(self._reach) or leftovers.find()
            if left:
                write_out()
        except (
            Exception
        ) as exc:  # the run has ended, whatever it has made of the functions that are used here
            left = f"a process that can't be looked at ({type(exc).__name__}: {exc})"
        return left

    def answer(self, request: dict[str, Any], steps: Steps | None = None) -> Answer:
        """What came of it. `steps`: others than STEPS for the kinds that they name."""
        started = now_us()
        try:
            answer = self._step(request, {**STEPS, **(steps or {})})
        except BaseException as exc:  # user code may raise anything, sys.exit() included
            answer = failure(exc)
        finally:
            self._rest()
        return {**answer, "started_us": started, "ended_us": now_us()}

    def _step(self, request: dict[str, Any], steps: Steps) -> Answer:
        app = self._app(request["app"])
        app_class = app.open()
        self._reach = app.reach if _has_plain_parameters(request["job"]) else EVERYWHERE
        if request["job"] is None:
            return {"ok": True, "result": describe(app_class)}
        job = self._job(request)
        step = steps.get(request["kind"], hook)
        with (
            _in_workdir(request, self._home),
            self._environment.with_(request["environment"]),
            app.importable(request["workdir"]),
        ):
            # What is kept for the current context, such as decimal's or numpy's settings, goes with it.
            context = contextvars.copy_context()
            has_preamble = app_class.shell_preamble is not ApplicationDefinition.shell_preamble
            if has_preamble and step is run and (preamble := _preamble_of(app_class(job))):
                whole = {**request, "app": {**request["app"], **app.record}}
                return self._behind(preamble, bool(getattr(app_class, "strict", False)), whole)
            return context.run(lambda: step(request["kind"], app_class(job), self._ends))

    def _behind(self, preamble: str | list[str], strict: bool, request: dict[str, Any]) -> Answer:
        job_id = request["job"]["id"]
        with self._ends.output.to(_begun_output(self._job(request))):
            return run_behind(preamble, strict, orjson.dumps(request), self._home, request["workdir"], job_id)

    def _job(self, request: dict[str, Any]) -> Job:
        job = Job.from_row(request["job"], self._client)
        job._session_id = request["session_id"]
        return job

    def _app(self, record: dict[str, Any]) -> ShippedApp:
        key = (record["id"], record["digest"])
        if "serialized_class" in record:
            row = {name: record[name] for name in ("id", "name", "serialized_class", "serializer")}
            self._apps[key] = ShippedApp(lambda modules: self._load(row, modules), row)
        return self._apps[key]

    def _load(self, row: dict[str, Any], modules: UserModules) -> AppClass:
        return ApplicationDefinition.from_serialized(App.from_row(row, self._client), modules)


def _has_plain_parameters(record: Mapping[str, Any] | None) -> bool:
    """Whether a job's parameters hold no code; objects may do anything."""
    return (
        record is None or record.get("parameters_json") is not None or not record.get("serialized_parameters")
    )


def describe(app_class: AppClass) -> dict[str, Any]:
    """What a launcher needs to know of an app, so that it can do without its class where possible."""
    interface = app_class.interface()
    return {
        "command_template": app_class.command_template,
        "defaults": {name: spec.default for name, spec in interface.items() if spec.default is not None},
        "environment_variables": {k: str(v) for k, v in app_class.environment_variables.items()},
        "python_exe": str(app_class.python_exe),
        "isolate": bool(app_class.isolate),
        "strict": bool(app_class.strict),
        "overrides": app_class.overridden_hooks(),
    }


def command(kind: str, app: ApplicationDefinition, ends: Ends) -> Answer:
    preamble = _preamble_of(app)
    variables = {str(name): str(value) for name, value in app.get_environ_vars().items()}
    for name, value in variables.items():
        _shell_text(f"{name}={value}", f"the environment variable {name!r}")
    text = _shell_text(app.get_arg_str(), "get_arg_str()")
    return {"ok": True, "result": {"command": text, "preamble": preamble, "environment": variables}}


def _preamble_of(app: ApplicationDefinition) -> str | list[str]:
    """What is run before the command; empty for most."""
    given: Any = app.shell_preamble
    given = (given() if callable(given) else given) or ()
    if isinstance(given, str):
        return _shell_text(given, "shell_preamble()")
    return [_shell_text(line, "a line of shell_preamble()") for line in given]


def _shell_text(text: Any, what: str) -> str:
    """Text that can be sent and started with; raises TypeError or ValueError with a sentence."""
    if not isinstance(text, str):
        raise TypeError(f"{what} is {text!r}: it has to be text")
    if "\0" in text:
        raise ValueError(f"{what} holds a NUL character, which no program can be given")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} holds half of a character (a lone surrogate): it is no text") from None
    return text


def _begun_output(job: Job) -> int:
    """A file descriptor for job.out; what earlier runs have left there is set aside."""
    try:
        return job_output.begin(".", Attempt(job.id, job.num_runs + 1))
    except OSError as exc:
        raise NotWritable(f"can't write {JOB_OUTPUT} in {Path.cwd()}: {exc.strerror}") from exc


def run(kind: str, app: ApplicationDefinition, ends: Ends) -> Answer:
    with ends.output.to(_begun_output(app.job)):
        return run_app(app, ends.exits)


def run_app(app: ApplicationDefinition, exits: ExitFunctions) -> Answer:
    """Calls `run()`, then does what the end of a script does; what is raised is written to stderr, too."""
    try:
        set_variables({name: str(value) for name, value in app.get_environ_vars().items()})
        value = app.run(**app.job.get_parameters())
        answer = {"ok": True, "serialized_return_value": _payload_of(value)}
    except SystemExit as exc:
        answer = _exited(exc)
    except KeyboardInterrupt as exc:  # Python ends a script so by the signal that it stands for
        _report(exc)
        answer = {**failure(exc), "return_code": -int(Signals.SIGINT)}
    except BaseException as exc:
        _report(exc)
        answer = failure(exc)
    try:
        finish_threads()
        exits.call()
    except BaseException as exc:
        _report(exc)
        answer = failure(exc)
    return answer


def _exited(exc: SystemExit) -> Answer:
    """As Python ends a script: None is 0, a number is itself, anything else is written out, and is 1."""
    if exc.code is None or exc.code == 0:
        return {"ok": True, "serialized_return_value": _payload_of(None)}
    if isinstance(exc.code, int):
        code = exc.code & 0xFF
    else:
        sys.stderr.write(f"{exc.code}\n")
        code = 1
    return (
        {**failure(exc), "return_code": code}
        if code
        else {"ok": True, "serialized_return_value": _payload_of(None)}
    )


def _report(exc: BaseException) -> None:
    """As Python does where nobody catches: by the hook that user code may have set."""
    exc = exc.with_traceback(_users_part(exc))
    try:
        sys.excepthook(type(exc), exc, exc.__traceback__)
    except BaseException:
        sys.stderr.write(_user_traceback(exc))


def hook(kind: str, app: ApplicationDefinition, ends: Ends) -> Answer:
    heading = f"==== {time.strftime('%Y-%m-%d %H:%M:%S')} {kind} of job {app.job.id} ====\n"
    with ends.output.to(opened(HOOK_OUTPUT, heading)):
        try:
            getattr(app, kind)()
            answer = {"ok": True, "changes": app.job.changed(), "result": {"state": str(app.job.state)}}
        except BaseException as exc:  # its traceback belongs into balsam.log
            sys.stderr.write(_user_traceback(exc))
            answer = failure(exc)
        finish_threads()
        ends.exits.call()
        return answer


STEPS: Steps = {"command": command, RUN: run}


def failure(exc: BaseException) -> Answer:
    """The answer that tells of an exception of user code."""
    payload = serialize_exception(exc)
    if len(payload) > MAX_PAYLOAD_CHARS:
        payload = serialize_exception(RuntimeError(without_middle(describe_exception(exc), 10_000)))
    told: Answer = {
        "ok": False,
        "return_code": 1,
        "error": _text(_told(exc)),
        "serialized_exception": payload,
    }
    return {**told, "node_short": True} if _is_the_nodes(exc) else told


def _is_the_nodes(exc: BaseException) -> bool:
    """Whether the step did not begin for a reason of the node."""
    cause = exc.__cause__
    return isinstance(exc, NotWritable) and isinstance(cause, OSError) and cause.errno in NODE_SHORT


def _text(told: str) -> str:
    """What JSON can hold: names of files may be no text."""
    return told.encode("utf-8", "replace").decode()


def _told(exc: BaseException) -> str:
    """One sentence where the user's code has not even begun, else the end of the traceback."""
    if isinstance(exc, ModuleLoadError | NotWritable):
        return str(exc)
    return "\n".join(_user_traceback(exc).strip().splitlines()[-ERROR_LINES:])


def _user_traceback(exc: BaseException) -> str:
    """The traceback without the frames of this file."""
    return "".join(traceback.format_exception(type(exc), exc, _users_part(exc)))


def _users_part(exc: BaseException) -> TracebackType | None:
    tb = exc.__traceback__
    while tb is not None and tb.tb_frame.f_code.co_filename == __file__:
        tb = tb.tb_next
    return tb


def _payload_of(value: Any) -> str:
    payload = serialize(value)
    if len(payload) > MAX_PAYLOAD_CHARS:
        raise SerializeError(
            f"the return value takes {len(payload):,} characters when serialized, and the limit is "
            f"{MAX_PAYLOAD_CHARS:,}: write it to a file in the workdir and return its name"
        )
    return payload


@contextlib.contextmanager
def _in_workdir(request: dict[str, Any], home: str) -> Iterator[None]:
    workdir = request["workdir"]
    try:
        os.chdir(workdir)
    except OSError:
        _make(workdir)
        try:
            os.chdir(workdir)
        except OSError as exc:
            raise NotWritable(f"can't enter the workdir {workdir}: {exc.strerror}") from exc
    try:
        yield
    finally:
        try:
            os.chdir(home)
        except OSError:  # a site that is moved or away is no fault of a run that has ended well
            os.chdir("/")


def _make(workdir: str) -> None:
    try:
        try:
            os.mkdir(workdir)  # noqa: PTH102 - once per run, and pathlib takes longer than the kernel
        except FileNotFoundError:
            os.makedirs(workdir, exist_ok=True)  # noqa: PTH103 - as above
        except FileExistsError:
            pass
    except OSError as exc:
        raise NotWritable(f"can't make the workdir {workdir}: {exc.strerror}") from exc


# As bytes, past `os.environ`: to decode and encode variables one by one took half of a run's time.
_variables: dict[bytes, bytes] = os.environb._data  # type: ignore[attr-defined]


def set_variables(changes: Mapping[str, str]) -> None:
    """As `os.environ.update`, also in what it raises."""
    for name, text in changes.items():
        key, value = os.fsencode(name), os.fsencode(text)
        if _variables.get(key) != value:
            os.putenv(key, value)
            _variables[key] = value


class _Environment:
    """The variables of this process, and what a step adds to them for a while."""

    def __init__(self) -> None:
        self._content = _variables
        self._before = self._content.copy()
        self._zone, self._names_of_zone = self._content.get(b"TZ"), time.tzname

    @contextlib.contextmanager
    def with_(self, changes: Mapping[str, str]) -> Iterator[None]:
        set_variables(changes)
        self._keep_time_zone()
        try:
            yield
        finally:
            if self._content != self._before:
                self._put_back()
            self._keep_time_zone()

    def _put_back(self) -> None:
        before = self._before
        for key, value in list(self._content.items()):
            if (own := before.get(key)) is None:
                os.unsetenv(key)
                del self._content[key]
            elif own != value:
                os.putenv(key, own)
                self._content[key] = own
        for key in before.keys() - self._content.keys():
            os.putenv(key, before[key])
            self._content[key] = before[key]

    def _keep_time_zone(self) -> None:
        """A program reads this variable once, when it starts."""
        if (zone := self._content.get(b"TZ")) != self._zone or time.tzname != self._names_of_zone:
            time.tzset()
            self._zone, self._names_of_zone = zone, time.tzname


def encode(answer: Answer) -> bytes:
    try:
        return orjson.dumps(answer)
    except TypeError as exc:  # a hook put into job.data what JSON does not know
        told = failure(TypeError(f"job.data can't be sent: {exc}"))
        return orjson.dumps({**told, "ended_us": now_us(), "worn": answer.get("worn", False)})


def main() -> None:
    # Its number is the parent's, which may have many files open: here it would look like as many.
    fd = high(int(sys.argv[1]))
    os.close(int(sys.argv[1]))
    site_path = Path(sys.argv[2])
    begin()
    os.chdir(site_path)
    with socket.socket(fileno=fd) as link, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        os.register_at_fork(after_in_child=link.close)  # what user code forks is no worker
        Worker(site_path).serve(link)
    flush()
    os._exit(0)  # threads that user code left behind would keep the process


def begin() -> None:
    """What a script finds in its interpreter, instead of what has started this."""
    sys.argv = ["balsam"]
    sys.path[:] = scripts_path(sys.path)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    for name in [name for name in vars(sys.modules["__main__"]) if not name.startswith("__")]:
        delattr(sys.modules["__main__"], name)
