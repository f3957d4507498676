"""A site with real launcher processes, for tests: submits jobs as a user, starts and kills launchers."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from balsam.client.transport import Client
from balsam.core.states import DONE_STATES
from balsam.runtime.site_folder import SiteFolder, create_site_folder
from balsam.sdk.application import ApplicationDefinition
from balsam.sdk.context import session
from tests.waiting import wait_until

Row = dict[str, Any]
_numbers = itertools.count(1)


class Pilot:
    """One site of one user, and its launchers."""

    def __init__(self, folder: Path, client: Client) -> None:
        self.client = client
        self.site: SiteFolder = create_site_folder(folder, folder.name, client)
        self.launchers: list[subprocess.Popen[bytes]] = []

    def set(self, section: str, **values: Any) -> None:
        """Changes settings.yml."""
        import yaml

        path = self.site.settings_path
        content = yaml.safe_load(path.read_text())
        content[section].update(values)
        path.write_text(yaml.safe_dump(content))

    def launch(
        self,
        *options: str,
        mode: str = "serial",
        minutes: float = 10,
        environment: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> subprocess.Popen[bytes]:
        """`within` begins the command that gives it nodes."""
        command = [
            *within,
            sys.executable,
            "-m",
            "balsam.launcher.main",
            "-j",
            mode,
            "-t",
            str(minutes),
            *options,
        ]
        with (self.site.log_path / "launcher.out").open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "BALSAM_SITE_PATH": str(self.site.path), **(environment or {})},
                start_new_session=True,
            )
        self.launchers.append(process)
        return process

    def end(self) -> None:
        """No launcher is left."""
        for process in self.launchers:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.launchers:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def sync(self, app: type[ApplicationDefinition]) -> None:
        app.site = self.site.site_id
        with session(self.client):
            app.sync()

    def app_id(self, app: type[ApplicationDefinition]) -> int:
        self.sync(app)
        return app.registered_id(self.client)

    def command(self, template: str, name: str | None = None) -> int:
        """The id of an app with this command template; a new one unless its name is known."""
        name = name or f"Command{next(_numbers)}"
        body = {"site": self.site.site_id, "command_template": template, "__module__": __name__}
        return self.app_id(type(name, (ApplicationDefinition,), body))

    def submit(self, app_id: int, count: int = 1, workdir: str | None = None, **fields: Any) -> list[int]:
        """Ids of new jobs, each with a workdir of its own."""
        workdir = workdir or f"w{next(_numbers)}"
        rows = [{"app_id": app_id, "workdir": f"{workdir}/{n}", **fields} for n in range(count)]
        return [int(row["id"]) for row in self.client.post("/jobs/", rows)]

    def rows(self, ids: Sequence[int]) -> list[Row]:
        found = []
        for start in range(0, len(ids), 500):
            query = {"id": list(ids[start : start + 500]), "count": "no"}
            found += self.client.get("/jobs/", query)["results"]
        return sorted(found, key=lambda row: ids.index(row["id"])) if len(ids) < 1000 else found

    def row(self, job_id: int) -> Row:
        return self.rows([job_id])[0]

    def states(self, ids: Sequence[int]) -> list[str]:
        return [row["state"] for row in self.rows(ids)]

    def walk(self, job_id: int) -> list[str]:
        """States that a job has entered, oldest first."""
        return [str(event["to_state"]) for event in self.events(job_id)]

    def events(self, job_id: int) -> list[Row]:
        found: list[Row] = self.client.get("/events/", {"job_id": job_id})["results"]
        return sorted(found, key=lambda event: event["id"])

    def output(self, job_id: int) -> str:
        path: Path = self.site.data_path / self.row(job_id)["workdir"] / "job.out"
        return path.read_text()

    def wait_done(self, ids: Sequence[int], timeout: float = 60.0) -> list[Row]:
        """The jobs, all of them finished or failed."""
        wait_until(
            lambda: all(state in DONE_STATES for state in self.states(ids)), timeout, lambda: self.told(ids)
        )
        return self.rows(ids)

    def wait_state(self, ids: Sequence[int], state: str, timeout: float = 60.0) -> None:
        wait_until(lambda: set(self.states(ids)) == {state}, timeout, lambda: self.told(ids))

    def told(self, ids: Sequence[int]) -> str:
        files = [path for path in sorted(self.site.log_path.iterdir()) if path.is_file()]
        logs = [f"{path.name}:\n{path.read_text()}" for path in files]
        states = [
            (row["id"], row["state"], self.events(row["id"])[-1]["data"]) for row in self.rows(ids[:20])
        ]
        return "\n".join([str(states), *logs])[-6000:]


def long_sleep() -> str:
    """A command that sleeps for minutes, worded as no other test's: other runs of the tests go on beside."""
    return f"sleep 98{next(_numbers)}.{os.getpid()}"


def processes_with(text: str) -> list[int]:
    """Pids of live processes with `text` on their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if text in line and state != "Z":
                found.append(int(folder.name))
    return found
