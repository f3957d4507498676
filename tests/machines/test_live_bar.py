"""Jobs that end while somebody looks: in a real terminal, and in a notebook that a real kernel executes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from balsam.api import App, Job, Site
from balsam.client.transport import Client
from balsam.sdk.context import session
from tests.machines.terminal import Terminal
from tests.sdk.moves import fail, finish
from tests.services import EmbeddedServer
from tests.waiting import wait_until

NUM_JOBS = 6
WAIT = "Job.objects.progress(Job.objects.all(), timeout=60, poll_interval=1000, description='waves')"
SCRIPT = "<script>document.title = 'owned'</script>"


@pytest.fixture
def client(embedded: EmbeddedServer) -> Iterator[Client]:
    """Of a server with jobs that are ready to run."""
    with embedded.client() as client, session(client):
        site = Site.objects.create("lab", "/home/me/lab")
        app = App.objects.create(site.id, "Wave", "", "", hooks=[])
        Job.objects.bulk_create(
            [Job(f"wave/{number}", app.id, tags={"note": SCRIPT}) for number in range(NUM_JOBS)]
        )
        yield client


@pytest.fixture
def environment(embedded: EmbeddedServer, tmp_path: Path) -> Mapping[str, str]:
    return {**os.environ, "BALSAM_CLIENT_PATH": str(embedded.login), "HOME": str(tmp_path), "TERM": "xterm"}


def jobs_of(client: Client) -> list[Job]:
    return list(Job.objects.using(client).all())


def test_a_bar_in_a_terminal_moves_as_jobs_end(client: Client, environment: Mapping[str, str]) -> None:
    code = f"from balsam.api import Job; done, left = {WAIT}; print('over', len(done), len(left))"
    first, *others = jobs_of(client)
    with Terminal([sys.executable, "-c", code], environment) as terminal:

        def shows(pattern: str) -> None:
            wait_until(lambda: re.search(pattern, terminal.text), on_timeout=lambda: terminal.text)

        shows(rf"waves.*0/{NUM_JOBS}")
        fail(first)
        shows(rf"1/{NUM_JOBS}.*1 failed")  # polling would have taken its time
        for job in others:
            finish(job, None)
        shows(rf"{NUM_JOBS}/{NUM_JOBS}.*1 failed")
        shows(f"over {NUM_JOBS} 0")
        assert terminal.process.wait(30) == 0
        assert "\x1b[" in terminal.text  # it was drawn over


def test_a_notebook_shows_tables_and_a_bar_that_moves(
    client: Client, environment: Mapping[str, str], tmp_path: Path
) -> None:
    made: Any = nbformat  # whose functions have no types
    sources = (
        "from balsam.api import EventLog, Job, Site",
        "Job.objects.all()",
        f"done, not_done = {WAIT}",
        "EventLog.objects.filter(to_state='FAILED')",
        "len(done), len(not_done)",
    )
    notebook = made.v4.new_notebook(cells=[made.v4.new_code_cell(source) for source in sources])
    _, table, bar, failed, counts = notebook.cells
    first, *others = jobs_of(client)

    def shows(text: str) -> None:
        """Waits for it while the cell is executed."""
        wait_until(lambda: text in str(bar.outputs), timeout=60, on_timeout=lambda: str(bar.outputs))

    def end_all() -> None:
        shows(f"waves: 0 of {NUM_JOBS}")
        fail(first)
        shows(f"waves: 1 of {NUM_JOBS}, 1 failed")  # polling would have taken its time
        for job in others:
            finish(job, None)

    with ThreadPoolExecutor(1) as background:
        ended = background.submit(end_all)
        resources = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute(
            env=dict(environment)
        )
        ended.result(60)

    [jobs] = table.outputs
    assert jobs["data"]["text/html"].count("<tr>") == 1 + NUM_JOBS
    assert SCRIPT not in jobs["data"]["text/html"] and "&lt;script&gt;" in jobs["data"]["text/html"]
    [last] = bar.outputs  # one output that was replaced, not one for each step
    assert f"waves: {NUM_JOBS} of {NUM_JOBS}, 1 failed" in last["data"]["text/html"]
    assert f'value="{NUM_JOBS}"' in last["data"]["text/html"]
    assert failed.outputs[0]["data"]["text/html"].count("<tr>") == 2
    assert counts.outputs[0]["data"]["text/plain"] == f"({NUM_JOBS}, 0)"
