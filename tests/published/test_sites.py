"""Clients and sites of both releases, in all pairs, run a command app and Python apps to their ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from balsam.client.transport import Client
from tests.published import terminal
from tests.published.release import SCRIPTS, Account, Release
from tests.waiting import wait_until

QUICK = {"sync_period": 1, "service_period": 1}
AT_AN_END = {"finished", "submit_failed"}


@dataclass(frozen=True)
class Folder:
    """A site's folder, served by one release."""

    account: Account
    release: Release
    path: Path

    def balsam(self, *arguments: str) -> str:
        return self.account.balsam(self.release, *arguments, cwd=self.path)

    def submit(self, mode: str) -> None:
        """Asks for a launcher, as users do."""
        queue = ["queue", "submit", "-n", "1", "-t", "10", "-q", "local", "-A", "local", "-j", mode]
        self.balsam(*queue, "--tag", "campaign=all")

    def report(self) -> str:
        """The ends of all logs, for whoever looks for a failure."""
        logs = [*self.path.glob("log/*"), *self.path.glob("qsubmit/*"), *self.path.glob("data/*/*/job.out")]
        return "\n".join(f"==== {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)


@contextmanager
def serving(folder: Folder, client: Client) -> Iterator[Folder]:
    """The site with its agent at work; at the end neither agent nor launcher is left."""
    folder.balsam("site", "start")
    try:
        wait_until(lambda: _is_served(client, folder), timeout=60, on_timeout=folder.report)
        yield folder
        for batch_job in client.get("/batch-jobs/")["results"]:
            if batch_job["state"] not in AT_AN_END:
                client.put(f"/batch-jobs/{batch_job['id']}", {"state": "pending_deletion"})
        wait_until(lambda: _are_at_an_end(client), timeout=60, on_timeout=folder.report)
    finally:
        folder.balsam("site", "stop")


def _is_served(client: Client, folder: Folder) -> bool:
    site_id = int((folder.path / ".balsam-site").read_text())
    return any(session["site_id"] == site_id for session in client.get("/sessions/")["results"])


def _are_at_an_end(client: Client) -> bool:
    return all(b["state"] in AT_AN_END for b in client.get("/batch-jobs/")["results"])


def new_published_site(account: Account, release: Release, folder: Path) -> Folder:
    """By `balsam site init`, which asks for the kind of machine on a terminal."""
    variables = {"HOME": str(account.home), "BALSAM_CLIENT_PATH": str(account.login)}
    command = ["balsam", "site", "init", "-n", "published", "published"]
    said = terminal.choose(command, b"MacOS/Linux", release.environment(**variables), folder)
    assert "New Balsam site set up" in said
    return _quick(Folder(account, release, folder / "published"))


def new_site_of_ours(account: Account, release: Release, folder: Path) -> Folder:
    account.balsam(release, "site", "init", "--name", "ours", folder / "ours")
    return _quick(Folder(account, release, folder / "ours"))


def _quick(site: Folder) -> Folder:
    """The same with short periods, which the tests would otherwise wait for."""
    path = site.path / "settings.yml"
    settings = yaml.safe_load(path.read_text())
    for section in settings.values():
        if isinstance(section, dict):
            section |= {name: sec for name, sec in QUICK.items() if name in section}
    path.write_text(yaml.safe_dump(settings))
    return site


EXPECTED = {
    "states": ["JOB_FINISHED", "JOB_FINISHED", "FAILED", "JOB_FINISHED", "FAILED"],
    "data": {"seen": True},
    "result": {"sum": 32, "state": "JOB_FINISHED", "cores": 1},
    "error": "ValueError: no 0",
    "own result": "Reading(value=40)",
    "own error": "OddReading: -1 is below 0",
}
MOVES = ["PREPROCESSED", "RUNNING", "RUN_DONE", "JOB_FINISHED"]


# What these sites send is replayed on both engines by the recorded exchanges; here, each runs on one.
@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_all_pairs_of_client_and_site_run_apps(
    published: Release, ours: Release, new_account: Callable[[], Account], tmp_path: Path
) -> None:
    account = new_account()
    client = Client(str(yaml.safe_load(account.login.read_text())["api_root"]), account.user.token)
    sites = [new_published_site(account, published, tmp_path), new_site_of_ours(account, ours, tmp_path)]
    with client, ExitStack() as stack, ThreadPoolExecutor(4) as pool:
        for site in sites:
            stack.enter_context(serving(site, client))
        campaigns = {
            (release.name, site.path.name): pool.submit(campaign, account, release, site)
            for release in (published, ours)
            for site in sites
        }
        for site in sites:
            site.submit("mpi")
        for (release_name, site_name), promise in campaigns.items():
            site = next(site for site in sites if site.path.name == site_name)
            check(promise.result(), site, release_name)


def campaign(account: Account, release: Release, site: Folder) -> dict[str, Any]:
    """What the user's script tells; the site's logs with it where it does not end."""
    program = account.home / f"{release.name}_at_{site.path.name}.py"
    text = (SCRIPTS / "campaign.py").read_text()
    for app in ("Hello", "Add", "Own"):
        text = text.replace(f"{app}App", f"{app}_{release.name}")
    program.write_text(text)
    try:
        told: dict[str, Any] = account.script(release, program, site.path.name, release.name)
        return told
    except Exception as exc:
        raise AssertionError(f"{exc}\n{site.report()}") from exc


def check(told: dict[str, Any], site: Folder, label: str) -> None:
    moves = told.pop("moves")
    assert told == EXPECTED, site.report()
    assert moves[-len(MOVES) :] == MOVES
    # The last line: an MPI launcher may complain of its own pipes before.
    assert (site.path / "data" / label / "hello" / "job.out").read_text().splitlines()[-1] == "Hello, you!"


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_the_published_serial_mode_runs_jobs(
    published: Release, new_account: Callable[[], Account], tmp_path: Path
) -> None:
    account = new_account()
    client = Client(str(yaml.safe_load(account.login.read_text())["api_root"]), account.user.token)
    site = new_published_site(account, published, tmp_path)
    with client, serving(site, client):
        site.submit("serial")
        check(campaign(account, published, site), site, published.name)
