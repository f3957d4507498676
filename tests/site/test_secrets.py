"""No token is on a command line, in an environment or in a log, while jobs run and afterwards."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import yaml

from balsam.client.login import SITE_TOKEN_FILE
from balsam.sdk.application import ApplicationDefinition
from balsam.sdk.context import session
from balsam.site.processes import stop_agent
from tests.services import EmbeddedServer
from tests.site.bench import Bench
from tests.waiting import wait_until


def test_no_secret_is_shown_by_a_run(own_bench: Bench, embedded: EmbeddedServer) -> None:
    token = yaml.safe_load(embedded.login.read_text())["token"]
    secrets = [token, str(own_bench.site.token)]
    own_bench.site.settings_path.write_text("logging: {level: DEBUG}")
    own_bench.start()
    python_app, command_app = _apps(own_bench)
    jobs = own_bench.jobs(command_app, 1, parameters_json={"file": str(own_bench.site.path / "go")})
    own_bench.jobs(python_app, 2)
    own_bench.ask(job_mode="serial")
    wait_until(lambda: own_bench.states(jobs) == ["RUNNING"], 30.0, own_bench.log)
    shown = list(_shown_by_processes(str(own_bench.site.path), str(embedded.data)))
    names = " ".join(text for _, text in shown)
    for part in ("balsam.server.main", "balsam.site.agent", "balsam.launcher.main"):
        assert part in names
    assert [where for where, text in shown if _holds(text, secrets)] == []
    (own_bench.site.path / "go").touch()
    own_bench.await_states(jobs, "JOB_FINISHED", 30.0)
    stop_agent(own_bench.site)
    holders = {file for file in _files(own_bench.site.path, embedded.data) if _holds(_text(file), secrets)}
    assert holders == {embedded.login, own_bench.site.path / SITE_TOKEN_FILE}
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in holders)


def _apps(bench: Bench) -> tuple[int, int]:
    class Quick(ApplicationDefinition):
        site = bench.site.site_id

        def run(self) -> str:
            return "done"

    class Patient(ApplicationDefinition):
        site = bench.site.site_id
        command_template = "env; until test -e {{ file }}; do sleep 0.05; done"

    for app in (Quick, Patient):
        app.__module__ = "__main__"
    with session(bench.client):
        Quick.sync()
        Patient.sync()
    return int(Quick.__app_id__ or 0), int(Patient.__app_id__ or 0)


def _shown_by_processes(*folders: str) -> Iterator[tuple[str, str]]:
    """What every process that has to do with the folders shows."""
    for process in psutil.process_iter():
        try:
            words, environment = process.cmdline(), process.environ()
        except psutil.Error:
            continue
        text = "\n".join([*words, *(f"{name}={value}" for name, value in environment.items())])
        if any(folder in text for folder in folders):
            yield f"{process.pid} {words}", text


def _files(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        yield from (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())


def _text(file: Path) -> str:
    return file.read_bytes().decode("latin-1")


def _holds(text: str, secrets: list[str]) -> bool:
    return any(secret in text for secret in secrets)
