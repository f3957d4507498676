"""The server and the site of a demonstration: started, kept alive and stopped by their own commands."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from balsam.platform.machine import LOCAL
from balsam.runtime.site_folder import SiteFolder
from balsam.site.processes import agent_status

LAUNCHER_STOP_SEC = 10.0


class CommandFailed(Exception):
    """A balsam command did not do what it should; the text is what it said."""


@dataclass
class Stack:
    """A folder with everything of one demonstration; `started` names what this process has to stop.

    `launcher`: settings of the site's launchers, beside an end soon after the last run. `machine`: whose
    settings the site begins with; `scheduler`: what is different here. `ends`: what has to stop when the
    agent has, and before the server does.
    """

    folder: Path
    launcher: Mapping[str, str] = field(default_factory=dict)
    machine: str = LOCAL
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    ends: ExitStack = field(default_factory=ExitStack)
    started: set[str] = field(default_factory=set)
    begun: float = field(default_factory=time.time)

    @property
    def login(self) -> Path:
        return self.folder / "client.yml"

    @property
    def server(self) -> Path:
        return self.folder / "server"

    @property
    def site(self) -> Path:
        return self.folder / "site"

    def start(self, site_name: str) -> None:
        """Starts the server and the agent; makes the site at the first time."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.start_server()
        if not (self.site / ".balsam-site").exists():
            self._balsam("site", "init", str(self.site), "--name", site_name, "--machine", self.machine)
        self._set_launcher({"idle_ttl_sec": "10", **self.launcher})
        if self.scheduler:
            self._set_scheduler()
        self.start_agent()

    def start_server(self) -> None:
        if "already" not in self._balsam("server", "start", "--data", str(self.server)):
            self.started.add("server")

    def start_agent(self) -> None:
        if not self.agent_is_alive():
            self._balsam("site", "start", folder=self.site)
            self.started.add("agent")

    def stop(self) -> None:
        """Stops what `start` and the restarts since then have started, the agent first."""
        if "agent" in self.started:
            self.stop_agent()
        self.ends.close()
        self._end_launchers()
        if "server" in self.started:
            self._balsam("server", "stop", "--data", str(self.server))
        self.started.clear()

    def stop_agent(self) -> None:
        """Whoever has started it."""
        if (self.site / "balsam-service.pid").exists():
            self._balsam("site", "stop", folder=self.site)

    def agent_is_alive(self) -> bool:
        """Whether the site's agent works."""
        return agent_status(SiteFolder(self.site)).running

    def _set_launcher(self, changes: Mapping[str, str]) -> None:
        """In settings.yml, whose comments stay."""
        settings = self.site / "settings.yml"
        text = settings.read_text()
        for name, value in changes.items():
            text, count = re.subn(rf"^(  {name}:) \S+", rf"\1 {value}", text, flags=re.MULTILINE)
            assert count == 1, f"{settings} has every setting once, {name} too"
        settings.write_text(text)

    def _set_scheduler(self) -> None:
        """In settings.yml, which loses its comments."""
        settings = self.site / "settings.yml"
        content = yaml.safe_load(settings.read_text())
        content["scheduler"] |= self.scheduler
        settings.write_text(yaml.safe_dump(content, sort_keys=False))

    def _end_launchers(self) -> None:
        """Ends launchers that nobody was left to end, for example after the agent was killed."""
        left = [process for process in psutil.process_iter() if self._is_own_launcher(process)]
        for process in left:
            _signal(process, kill=False)
        _, alive = psutil.wait_procs(left, timeout=LAUNCHER_STOP_SEC)
        for process in alive:
            _signal(process, kill=True)
        psutil.wait_procs(alive, timeout=LAUNCHER_STOP_SEC)

    def _is_own_launcher(self, process: psutil.Process) -> bool:
        """Of this demonstration's site, and begun while it ran: nobody else's process is touched."""
        try:
            return (
                process.create_time() >= self.begun
                and any(word.startswith("balsam.launcher") for word in process.cmdline())
                and process.environ().get("BALSAM_SITE_PATH") == str(self.site)
            )
        except psutil.Error:
            return False

    def _balsam(self, *words: str, folder: Path | None = None) -> str:
        """Runs one `balsam` command; raises CommandFailed with its words."""
        done = subprocess.run(
            [sys.executable, "-m", "balsam.cli.main", *words],
            cwd=folder or self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise CommandFailed(f"balsam {' '.join(words)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout


def _signal(process: psutil.Process, kill: bool) -> None:
    try:
        process.kill() if kill else process.terminate()
    except psutil.Error:
        return
