"""`balsam server` and the daemon below it, with real processes."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from balsam.client.login import Login, load_login, login_path, save_login
from balsam.server import daemon
from tests.cli.conftest import Balsam
from tests.waiting import wait_until


@pytest.fixture
def data(home: Path) -> Iterator[Path]:
    """Where this user's server keeps its data; nothing runs there afterwards."""
    folder = home / ".balsam" / "server"
    yield folder
    daemon.stop(folder)


def test_start_says_where_it_runs_and_logs_the_user_in(balsam: Balsam, data: Path) -> None:
    said = balsam("server", "start")
    url = daemon.status(data).url
    assert said.status == 0
    assert url is not None and url in said.out
    assert "balsam server stop" in said.out
    login = load_login()
    assert login is not None and login.api_root == url
    assert balsam("job", "ls").status == 0


def test_start_twice_starts_one_and_says_so(balsam: Balsam, data: Path) -> None:
    balsam("server", "start")
    before = daemon.status(data)
    said = balsam("server", "start")
    assert said.status == 0
    assert "runs already" in said.out
    assert daemon.status(data).pid == before.pid


def test_files_are_private(balsam: Balsam, data: Path) -> None:
    balsam("server", "start")
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE(login_path().parent.stat().st_mode) == 0o700
    readable = [path.name for path in [login_path(), *data.iterdir()] if path.stat().st_mode & 0o077]
    assert readable == []


def test_the_port_is_kept_from_one_start_to_the_next(balsam: Balsam, data: Path) -> None:
    balsam("server", "start")
    url = daemon.status(data).url
    assert balsam("server", "stop").out.strip() == "The server has stopped."
    balsam("server", "start")
    assert daemon.status(data).url == url


def test_stop_ends_the_process(balsam: Balsam, data: Path) -> None:
    balsam("server", "start")
    pid = daemon.status(data).pid
    assert pid is not None
    balsam("server", "stop")
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert not daemon.status(data).running
    assert balsam("server", "stop").status == 0


def test_a_killed_server_counts_as_stopped_and_starts_again(balsam: Balsam, data: Path) -> None:
    balsam("server", "start")
    pid = daemon.status(data).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not daemon.status(data).running)
    assert balsam("server", "status").status == 1
    assert balsam("server", "start").status == 0
    assert daemon.status(data).pid != pid


def test_an_id_taken_over_by_another_process_is_no_server(data: Path) -> None:
    data.mkdir(parents=True)
    (data / "server.json").write_text(f'{{"port": 1, "pid": {os.getpid()}, "started": null}}')
    assert not daemon.status(data).running


def test_a_taken_port_is_named_with_the_remedy(balsam: Balsam, data: Path) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        said = balsam("server", "start", "--port", port)
    assert said.status == 1
    assert f"port {port}" in said.err and "--port" in said.err
    assert not daemon.status(data).running


def test_a_running_server_is_not_moved_to_another_port(balsam: Balsam, data: Path) -> None:
    balsam("server", "start")
    said = balsam("server", "start", "--port", daemon.free_port())
    assert said.status == 1
    assert "stop it first" in said.err


def test_a_new_port_brings_the_users_login_along(balsam: Balsam, data: Path) -> None:
    balsam("server", "start")
    balsam("server", "stop")
    port = daemon.free_port()
    balsam("server", "start", "--port", port)
    login = load_login()
    assert login is not None and login.api_root.endswith(f":{port}")
    assert balsam("site", "ls").status == 0


def test_a_login_for_another_server_is_left_alone(balsam: Balsam, data: Path) -> None:
    save_login(Login(api_root="https://elsewhere.example", token="t"))
    balsam("server", "start")
    login = load_login()
    assert login is not None and login.api_root == "https://elsewhere.example"


def test_status_tells_url_pid_and_size(balsam: Balsam, data: Path) -> None:
    balsam("server", "start")
    said = balsam("server", "status")
    status = daemon.status(data)
    assert said.status == 0
    for part in (status.url, str(status.pid), str(data), "MB", "uptime"):
        assert part is not None and part in said.out


def test_a_server_that_can_not_start_says_why(balsam: Balsam, data: Path) -> None:
    data.mkdir(parents=True)
    (data / "balsam.db").write_text("this is no database" * 1000)
    said = balsam("server", "start")
    assert said.status == 1
    assert "server.log" in said.err


def test_data_may_be_anywhere(balsam: Balsam, home: Path) -> None:
    folder = home / "my data"
    try:
        assert balsam("server", "start", "--data", folder).status == 0
        assert balsam("server", "status", "--data", folder).status == 0
        assert balsam("server", "status").status == 1
    finally:
        assert balsam("server", "stop", "--data", folder).status == 0


def test_status_names_a_server_that_hangs(balsam: Balsam, data: Path) -> None:
    balsam("server", "start")
    pid = daemon.status(data).pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        reason = daemon.why_not_ready(daemon.HOST, int(str(daemon.status(data).url).split(":")[-1]), 0.5)
        assert reason is not None and "did not answer within 0.5 s" in reason
    finally:
        os.kill(pid, signal.SIGCONT)
    assert balsam("server", "status").status == 0


def test_a_second_server_on_one_database_is_refused_however_it_is_spelled(
    balsam: Balsam, data: Path, home: Path
) -> None:
    """Two of anything: here two server processes, the second started by hand through a link."""
    balsam("server", "start")
    (home / "link").symlink_to(data)
    command = [sys.executable, "-m", "balsam.server.main", "--data", str(home / "link")]
    second = subprocess.run(
        [*command, "--port", str(daemon.free_port())], capture_output=True, text=True, timeout=60, check=False
    )
    pid = daemon.status(data).pid
    assert second.returncode == 1 and f"already (process {pid})" in second.stderr
    assert "Traceback" not in second.stderr
    again = balsam("server", "start", "--data", home / "link")
    assert "already" in again.out + again.err, "it is told as the one that runs, or refused"
    assert daemon.status(data).pid == pid and balsam("server", "status").status == 0


def test_a_restored_database_must_not_be_served(
    balsam: Balsam, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    balsam("server", "start")
    monkeypatch.setenv("BALSAM_DATABASE_URL", f"sqlite:///{data / 'balsam.db'}")
    live = balsam("server", "restored")
    assert (
        live.status == 1 and f"process {daemon.status(data).pid}" in live.err and "stop it first" in live.err
    )
    balsam("server", "stop")
    assert balsam("server", "restored").status == 0
    assert balsam("server", "start").status == 0


def test_open_shows_the_server_of_the_login_that_others_share(balsam: Balsam, home: Path) -> None:
    save_login(Login(api_root="https://balsam.example.org/balsam", token="t"))
    said = balsam("server", "open", "--no-browser")
    assert said.status == 0 and "https://balsam.example.org/balsam/ui/" in said.out


def test_starts_at_once_make_one_server(data: Path, home: Path) -> None:
    command = [sys.executable, "-m", "balsam.cli.main", "server", "start"]
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [start.communicate(timeout=120)[0] for start in starts]
    assert sum("is running at" in text for text in said) == 1, said
    assert sum("runs already at" in text for text in said) == 2, said
