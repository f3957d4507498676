"""`make demo`: a hyperparameter search on this machine, from an empty folder to a figure.

Starts a server, a site and its agent in .demo/, runs about 160 jobs on two allocations that overlap, and
stops what it started. What it made stays in .demo/ until `make clean`.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from balsam import analytics
from balsam.api import Job, JobState, Site
from balsam.client.errors import ClientError
from balsam.client.login import load_login
from balsam.client.transport import Client
from balsam.core.states import DONE_STATES
from balsam.sdk.context import default_client, use_client
from examples.digits import report
from examples.digits.apps import SITE
from examples.digits.campaign import Campaign, Setting, settings, submit_jobs
from examples.digits.stack import CommandFailed, Stack
from examples.digits.watch import CampaignStuck, Watch, end_allocations

PROJECT = Path(__file__).resolve().parents[2]
OUTAGE_SEC = 1.0  # after so long without an answer the server counts as dead and is started again


def main() -> int:
    """Runs the demonstration; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.digits.demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=PROJECT / ".demo", help="where everything is kept")
    parser.add_argument("--small", action="store_true", help="search a quarter of the settings")
    options = parser.parse_args()
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, _interrupt)
    stack = Stack(options.folder.absolute())
    _set_environment(stack)
    try:
        with _alone(stack.folder):
            run(stack, settings(every=4 if options.small else 1), console)
        return 0
    except KeyboardInterrupt:
        console.print("Interrupted: stopping what was started.")
        return 130
    except (ClientError, CommandFailed, CampaignStuck, AlreadyRuns) as exc:
        console.print(f"The demonstration failed: {exc}", style="red", markup=False)
        return 1
    finally:
        # A second Ctrl-C must not leave half of it running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stack.stop()


def run(stack: Stack, search: list[Setting], console: Console) -> None:
    """One campaign, from starting the server to the report."""
    console.print(f"Starting a server, a site and its agent in {stack.folder} ...")
    stack.start(SITE)
    use_client(_impatient_client(stack))
    name = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    site = Site.objects.get(name=SITE)
    end_allocations(site.id)  # of a demonstration that was killed
    try:
        campaign = submit_jobs(name, search)
        console.print(
            f"Submitted {len(campaign.jobs) + 1} jobs (one of them can never run) of campaign {name}."
        )
        _watch(stack, campaign, site.id, console)
        console.print()
        explain_and_remove_blocked(campaign, console)
    finally:
        end_allocations(site.id)
    show(stack, campaign, console)


def _set_environment(stack: Stack) -> None:
    """For Balsam and matplotlib in this process and those that it starts."""
    os.environ["BALSAM_CLIENT_PATH"] = str(stack.login)
    os.environ.setdefault("MPLCONFIGDIR", str(stack.folder / "matplotlib"))
    os.environ.pop("BALSAM_SITE_PATH", None)


def _watch(stack: Stack, campaign: Campaign, site_id: int, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("jobs", total=len(campaign.jobs))

        def progress(states: Counter[JobState]) -> None:
            running, failed = states[JobState.running], states[JobState.failed]
            text = f"jobs ({running:2} running, {failed} failed)"
            bar.update(task, completed=sum(states[state] for state in DONE_STATES), description=text)

        Watch(
            stack, campaign, site_id, lambda line: bar.console.print(f"note: {line}"), progress
        ).until_done()


def explain_and_remove_blocked(campaign: Campaign, console: Console) -> None:
    """Shows why one job can never run, and removes it."""
    why = default_client().get(f"/jobs/{campaign.blocked.id}/why")["sentence"]
    console.print(f"balsam job why {campaign.blocked.id}\n  {why}", markup=False, soft_wrap=True)
    campaign.blocked.delete()
    console.print("  (removed: nothing else would ever have happened to it)\n")


def show(stack: Stack, campaign: Campaign, console: Console) -> None:
    """Draws the figure and prints what came out, where it is, and how to look further."""
    from examples.digits.figure import draw

    picture = stack.folder / "digits.png"
    draw(campaign.tags, picture)
    summary = analytics.summary(Job.objects.filter(tags=campaign.tags))
    console.print(report.states_table(summary))
    console.print(report.node_hours(summary))
    campaign.winner.refresh_from_db()
    results = stack.site / "data" / "digits" / campaign.name
    lines = [
        "",
        f"winner:  {report.winner_text(campaign.winner.result_nowait())}",
        f"results: {results}",
        f"figure:  {picture}",
        f"site:    {stack.site}",
        "",
        "The server and the agent stop now; to look further:",
        f"  export PATH={Path(sys.executable).parent}:$PATH BALSAM_CLIENT_PATH={stack.login}",
        "  balsam server start",
        f"  balsam job ls --tag campaign={campaign.name} --state FAILED",
        f"  balsam job ls --history {campaign.winner.id}",
        "  balsam queue ls --history",
        f"  cat {results}/svc/ranking/ranking.txt",
        "  balsam server stop",
    ]
    console.print("\n".join(lines), markup=False, soft_wrap=True)


class AlreadyRuns(Exception):
    """Another demonstration uses the folder."""


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise AlreadyRuns(f"another demonstration works in {folder}: wait for its end") from exc
        yield


def _impatient_client(stack: Stack) -> Client:
    login = load_login(stack.login)
    assert login is not None, "the server has just written it"
    return Client(login.api_root, login.token, retry_sec=OUTAGE_SEC)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
