"""Real Python workers behind a pool: what user code may do to them, and what comes back."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from balsam.core.limits import MAX_PAYLOAD_CHARS
from balsam.runtime import leftovers
from balsam.runtime.requests import AppCode, Kind, Reply, Request
from balsam.runtime.shared_pool import SharedWorkerPool
from balsam.runtime.worker_pool import WorkerPool, WorkerSetting
from balsam.schemas import deserialize
from balsam.sdk.application import ApplicationDefinition
from balsam.sdk.class_payload import class_payload
from tests.waiting import wait_until


class Play(ApplicationDefinition):
    site = 1
    environment_variables = {"COLOUR": "green"}

    def run(self, act: str = "", size: int = 0) -> Any:
        import ctypes

        if act == "exit":
            os._exit(3)
        if act == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if act == "fork and die":
            if os.fork() == 0:
                time.sleep(600)
            os._exit(4)
        if act == "sleep":
            time.sleep(600)
        if act == "sys.exit":
            sys.exit(5)
        if act == "sys.exit(0)":
            sys.exit(0)
        if act == "interrupt":
            raise KeyboardInterrupt
        if act == "speak":
            print("python")
            ctypes.CDLL(None).printf(b"c library\n")
            subprocess.run(["echo", "child"], check=True)
            sys.stderr.write("stderr\n")
        if act == "spoil":
            sys.stdout = sys.stderr = None
            os.chdir("/")
            os.environ["SPOILT"] = "yes"
            os.environ.pop("HOME", None)
        if act == "leave a child":
            subprocess.Popen(["sleep", "600"])
        if act == "leave a thread":
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        if act == "leave files":
            Play.left = [os.open("/dev/null", os.O_RDONLY) for _ in range(200)]  # type: ignore[attr-defined]
        if act == "leave memory":
            Play.left = bytearray(os.urandom(1)) * (600 << 20)  # type: ignore[attr-defined]
        if act == "large":
            return os.urandom(size)
        return {"pid": os.getpid(), "cwd": str(Path.cwd()), "env": dict(os.environ)}

    def preprocess(self) -> None:
        print("preparing")
        self.job.data["seen"] = True
        self.job.tags = {**self.job.tags, "new": "tag"}
        self.job.state = "PREPROCESSED"  # type: ignore[assignment]

    def handle_error(self) -> None:
        self.job.data = {"when": object()}

    def handle_timeout(self) -> None:
        raise RuntimeError("no idea what to do")


class Template(ApplicationDefinition):
    site = 1
    command_template = "echo {{ x }} {{ y }}"
    parameters = {"y": {"required": False, "default": "why"}}

    def shell_preamble(self) -> str:
        return "module load it"


PLAY = AppCode(1, "Play", class_payload(Play))
TEMPLATE = AppCode(2, "Template", class_payload(Template))
Ask = Callable[[Request], Reply]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="module")
def pool(site: Path) -> Iterator[WorkerPool]:
    pool = WorkerPool(2, WorkerSetting(str(site)))
    yield pool
    pool.close()


@pytest.fixture
def ask(pool: WorkerPool) -> Ask:
    def ask(request: Request) -> Reply:
        return ask_all(pool, [request])[0]

    return ask


def ask_all(pool: WorkerPool, requests: list[Request]) -> list[Reply]:
    replies: list[Reply] = []
    for request in requests:
        pool.submit(request, replies.append)
    deadline = time.monotonic() + 20
    while len(replies) < len(requests):
        assert time.monotonic() < deadline
        pool.dispatch(0.5)
    return sorted(replies, key=lambda reply: requests.index(reply.request))


def job(parameters: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "workdir": "w",
        "state": "PREPROCESSED",
        "data": {},
        "tags": {"old": "tag"},
        "parameters_json": parameters or {},
        "serialized_parameters": "",
        "threads_per_rank": 2,
        **fields,
    }


def run(folder: Path, act: str = "", **fields: Any) -> Request:
    parameters = {"act": act, **fields}
    return Request(Kind.run, PLAY, job(parameters), str(folder), {"BALSAM_JOB_ID": "7"}, session_id=3)


def test_run_sees_its_workdir_and_environment_and_leaves_nothing_behind(ask: Ask, tmp_path: Path) -> None:
    first = deserialize(ask(run(tmp_path / "deep" / "er")).serialized_return_value)
    assert first["cwd"] == str(tmp_path / "deep" / "er")
    seen = first["env"]
    assert (seen["BALSAM_JOB_ID"], seen["COLOUR"], seen["OMP_NUM_THREADS"]) == ("7", "green", "2")
    assert ask(run(tmp_path, "spoil")).ok
    after = Request(Kind.run, PLAY, job({"act": "speak"}), str(tmp_path), {})
    left = deserialize(ask(after).serialized_return_value)
    assert left["pid"] == first["pid"]
    assert left["cwd"] == str(tmp_path)
    assert not {"SPOILT"} & left["env"].keys()
    assert left["env"]["HOME"] == seen["HOME"]


def test_output_of_python_c_and_children_is_captured_in_order(ask: Ask, tmp_path: Path) -> None:
    assert ask(run(tmp_path, "speak")).ok
    lines = (tmp_path / "job.out").read_text().splitlines()
    assert sorted(lines) == ["c library", "child", "python", "stderr"]
    assert ask(run(tmp_path, "speak")).ok
    assert len((tmp_path / "job.out").read_text().splitlines()) == 4  # of the last run alone


@pytest.mark.parametrize(
    ("act", "sentence", "code"),
    [("exit", "exit code 3", 3), ("segfault", "signal 11", -11), ("fork and die", "exit code 4", 4)],
)
def test_death_of_a_worker_is_told_and_costs_one_request(
    ask: Ask, tmp_path: Path, act: str, sentence: str, code: int
) -> None:
    reply = ask(run(tmp_path, act))
    assert (reply.ok, reply.crashed, reply.return_code) == (False, True, code)
    assert sentence in reply.error
    assert ask(run(tmp_path)).ok


def test_sys_exit_ends_the_run_with_that_code_and_not_the_worker(ask: Ask, tmp_path: Path) -> None:
    reply = ask(run(tmp_path, "sys.exit"))
    assert not reply.ok and not reply.crashed
    assert reply.return_code == 5
    assert "SystemExit: 5" in reply.error


def test_interrupt_ends_the_run_as_its_signal_ends_a_script(ask: Ask, tmp_path: Path) -> None:
    """The kind: the return code of a run() is the status that a script with the same text ends with."""
    reply = ask(run(tmp_path, "interrupt"))
    assert (reply.ok, reply.crashed, reply.return_code) == (False, False, -signal.SIGINT)


def test_sys_exit_of_zero_is_the_end_of_a_good_run(ask: Ask, tmp_path: Path) -> None:
    reply = ask(run(tmp_path, "sys.exit(0)"))
    assert reply.ok and deserialize(reply.serialized_return_value) is None


def test_large_result_passes_and_a_larger_one_is_refused_with_the_limit(ask: Ask, tmp_path: Path) -> None:
    reply = ask(run(tmp_path, "large", size=300_000))
    assert len(deserialize(reply.serialized_return_value)) == 300_000
    refused = ask(run(tmp_path, "large", size=MAX_PAYLOAD_CHARS))
    assert not refused.ok
    assert "the limit is 512,000" in refused.error


def test_large_parameters_reach_the_run(ask: Ask, tmp_path: Path) -> None:
    request = Request(Kind.run, PLAY, job({"act": "x" * 1_000_000}), str(tmp_path))
    assert ask(request).ok


def test_killed_request_is_answered(pool: WorkerPool, tmp_path: Path) -> None:
    replies: list[Reply] = []
    ticket = pool.submit(run(tmp_path, "sleep"), replies.append)
    while ticket.worker is None:
        pool.dispatch(0.5)
    pool.kill(ticket)
    while not replies:
        pool.dispatch(0.5)
    assert replies[0].crashed and "signal 9" in replies[0].error


def test_hook_tells_what_it_changed_and_writes_to_its_log(ask: Ask, tmp_path: Path) -> None:
    reply = ask(Request(Kind.preprocess, PLAY, job(state="STAGED_IN"), str(tmp_path)))
    assert reply.ok
    assert reply.changes == {
        "data": {"seen": True},
        "tags": {"old": "tag", "new": "tag"},
        "state": "PREPROCESSED",
    }
    heading, line = (tmp_path / "balsam.log").read_text().splitlines()
    assert "preprocess of job 7" in heading
    assert line == "preparing"


def test_hook_on_a_full_disk_is_not_begun(ask: Ask, tmp_path: Path) -> None:
    """Kind: a fault of the node where a file can be opened, and not be written."""
    (tmp_path / "balsam.log").symlink_to("/dev/full")
    reply = ask(Request(Kind.preprocess, PLAY, job(), str(tmp_path)))
    assert (
        reply.node_short and reply.error == f"can't write balsam.log in {tmp_path}: No space left on device"
    )
    (tmp_path / "balsam.log").unlink()
    assert ask(Request(Kind.preprocess, PLAY, job(), str(tmp_path))).ok


def test_hook_that_raises_is_answered_with_its_traceback(ask: Ask, tmp_path: Path) -> None:
    reply = ask(Request(Kind.handle_timeout, PLAY, job(state="RUN_TIMEOUT"), str(tmp_path)))
    assert not reply.ok
    assert "RuntimeError: no idea what to do" in reply.error
    assert "no idea what to do" in (tmp_path / "balsam.log").read_text()


def test_data_that_is_no_json_fails_the_hook_with_the_reason(ask: Ask, tmp_path: Path) -> None:
    reply = ask(Request(Kind.handle_error, PLAY, job(state="RUN_ERROR"), str(tmp_path)))
    assert not reply.ok
    assert "Job.data['when']" in reply.error


def test_description_and_command_of_a_template_app(ask: Ask, tmp_path: Path) -> None:
    said = ask(Request(Kind.describe, TEMPLATE)).result
    assert said["command_template"] == "echo {{ x }} {{ y }}"
    assert said["defaults"] == {"y": "why"}
    assert said["overrides"] == ["shell_preamble"]
    made = ask(Request(Kind.command, TEMPLATE, job({"x": 1}), str(tmp_path))).result
    assert made["command"] == "echo 1 why"
    assert made["preamble"] == "module load it"


def test_class_that_does_not_load_is_an_error_each_time(ask: Ask) -> None:
    broken = AppCode(3, "Broken", "bm90aGluZw==")
    for _ in range(2):
        reply = ask(Request(Kind.describe, broken))
        assert not reply.ok and "Broken" in reply.error


def alive_in_group(pgid: int) -> list[int]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == pgid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def test_memory_that_grows_below_an_earlier_peak_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peak may be an earlier run's, or that of the program that has started the worker."""
    sizes = iter([50 << 20, 150 << 20, 750 << 20])
    monkeypatch.setattr(leftovers, "_resident_bytes", lambda: next(sizes))
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=2 << 20))
    found = leftovers.Leftovers.__new__(leftovers.Leftovers)
    found._memory = None
    assert [found._memory_leak() for _ in range(3)] == ["", "", "700 MB of memory"]


@pytest.mark.parametrize("left", ["a child", "a thread", "files", "memory"])
def test_what_a_run_leaves_behind_is_seen_by_no_other(ask: Ask, tmp_path: Path, left: str) -> None:
    def pid(act: str = "") -> int:
        return int(deserialize(ask(run(tmp_path, act)).serialized_return_value)["pid"])

    first = pid()
    assert pid(f"leave {left}") == first
    assert pid() != first
    wait_until(lambda: not alive_in_group(first))


def test_runs_of_one_app_are_not_in_the_process_of_another(site: Path, tmp_path: Path) -> None:
    pool = WorkerPool(8, WorkerSetting(str(site)))
    others = [AppCode(number, "Play", PLAY.serialized_class) for number in (1, 2, 3)]
    requests = [Request(Kind.run, code, job(), str(tmp_path)) for code in others * 2]
    pids = [deserialize(ask_all(pool, [request])[0].serialized_return_value)["pid"] for request in requests]
    assert pids[:3] == pids[3:] and len(set(pids)) == 3
    pool.close()


def test_idle_workers_of_other_apps_do_not_pile_up(site: Path, tmp_path: Path) -> None:
    pool = WorkerPool(2, WorkerSetting(str(site)))
    codes = [AppCode(number, "Play", PLAY.serialized_class) for number in range(5)]
    replies = [ask_all(pool, [Request(Kind.run, code, job(), str(tmp_path))])[0] for code in codes]
    assert all(reply.ok for reply in replies)
    assert len(pool) == 2
    pool.close()


def test_isolated_requests_have_workers_of_their_own(pool: WorkerPool, tmp_path: Path) -> None:
    request = run(tmp_path)
    alone = [Request(Kind.run, PLAY, request.job, str(tmp_path), fresh=True) for _ in range(3)]
    pids = {deserialize(r.serialized_return_value)["pid"] for r in ask_all(pool, alone)}
    assert len(pids) == 3


def test_interpreter_that_does_not_exist_or_lacks_balsam_is_told(ask: Ask, tmp_path: Path) -> None:
    missing = Request(Kind.run, PLAY, job(), str(tmp_path), interpreter="/no/such/python")
    assert "can't start the interpreter /no/such/python" in ask(missing).error
    useless = Request(Kind.run, PLAY, job(), str(tmp_path), interpreter="/bin/false")
    assert "did not start: exit code 1" in ask(useless).error


class Killing:
    """A guard that kills whatever it finds, until it was renewed."""

    def __init__(self) -> None:
        self.renewed = False
        self.groups: list[int] = []

    def add(self, pgid: int) -> None:
        self.groups.append(pgid)

    def remove(self, pgid: int) -> None:
        pass

    def beat(self) -> bool:
        return self.renewed


def test_nothing_is_started_while_the_guard_kills(site: Path, tmp_path: Path) -> None:
    guard = Killing()
    pool = WorkerPool(1, WorkerSetting(str(site)), guard)
    replies: list[Reply] = []
    pool.submit(run(tmp_path), replies.append)
    pool.dispatch()
    assert guard.groups == [] and len(pool) == 0
    guard.renewed = True
    while not replies:
        pool.dispatch(0.5)
    pool.close()
    assert replies[0].ok and len(guard.groups) == 1


def test_more_requests_than_workers_are_all_answered(pool: WorkerPool, tmp_path: Path) -> None:
    requests = [run(tmp_path / str(n)) for n in range(200)]
    replies = ask_all(pool, requests)
    assert all(reply.ok for reply in replies)
    assert len(pool) <= 2
    assert all(r.started_us <= r.ended_us for r in replies)


def test_worker_ends_when_its_pool_is_gone(site: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(site)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    owner.kill()
    owner.communicate()
    wait_until(lambda: not Path(f"/proc/{pid}").exists())


OWNER = """
import sys
from balsam.runtime.worker_pool import WorkerPool, WorkerSetting
pool = WorkerPool(1, WorkerSetting(sys.argv[1], output=2))
pool.warm(1)
while not pool._workers[0].ready:
    pool.dispatch(1)
print(pool._workers[0].process.pid, flush=True)
sys.stdin.read()
"""


def test_shared_pool_serves_several_threads_and_times_out(site: Path, tmp_path: Path) -> None:
    with SharedWorkerPool(2, WorkerSetting(str(site))) as pool:
        replies: list[Reply] = []
        threads = [
            threading.Thread(target=lambda n=n: replies.append(pool.call(run(tmp_path / str(n)))))
            for n in range(5)
        ]
        for thread in threads:
            thread.start()
        slow = pool.call(run(tmp_path, "sleep"), timeout=1.0)
        for thread in threads:
            thread.join()
        assert [reply.ok for reply in replies] == [True] * 5
        assert not slow.ok and "took longer than 1 s" in slow.error
        assert pool.submit(run(tmp_path)).result(10).ok


class Prepared(ApplicationDefinition):
    site = 1

    def shell_preamble(self) -> str:
        return "export LOADED=yes\nfalse\ntrue"

    def run(self, code: int = 0) -> Any:
        if code:
            os._exit(code)
        print("it runs")
        return os.environ["LOADED"]


class Unprepared(Prepared):
    shell_preamble = ["false", "true"]  # type: ignore[assignment]


def test_a_run_behind_a_preamble_sees_what_it_has_set(ask: Ask, tmp_path: Path) -> None:
    def reply(app: type[ApplicationDefinition], **parameters: Any) -> Reply:
        code = AppCode(9, app.__name__, class_payload(app))
        return ask(Request(Kind.run, code, job(parameters), str(tmp_path), {}))

    good = reply(Prepared)
    assert good.ok and deserialize(good.serialized_return_value) == "yes"
    assert (tmp_path / "job.out").read_text() == "it runs\n"
    assert reply(Prepared, code=9).return_code == 9
    failed = reply(Unprepared)
    assert (failed.ok, failed.return_code) == (False, 1)
    assert "the shell preamble failed with exit code 1" in (tmp_path / "job.out").read_text()
