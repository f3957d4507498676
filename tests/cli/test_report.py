"""`balsam report`: every form, where it goes, and what it chooses."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest

from balsam.api import BatchJob
from balsam.cli.report_text import blocks, sampled
from balsam.client.transport import Client
from balsam.core.clock import UtcDatetime
from balsam.report.scales import Times
from tests.cli.conftest import Balsam
from tests.machines.terminal import Terminal
from tests.report import campaigns


@pytest.fixture
def campaign(client: Client) -> str:
    """Whose jobs are on the server: a tag, as an option takes it."""
    [(key, value)] = campaigns.make().items()
    return f"{key}={value}"


def test_text_in_a_terminal(balsam: Balsam, campaign: str) -> None:
    done = balsam("report", "--tag", campaign)
    assert done.status == 0 and done.err == ""
    assert done.out.startswith("Report of hostile\n")
    for heading in (
        "Jobs finished",
        "Nodes available",
        "Nodes busy",
        "Time in each state",
        "Node-hours by app",
        "Node-hours by tag size",
        "Slowest runs",
        "Failed runs by signature",
        "Failed jobs by cause, the most frequent first",
    ):
        assert f"\n{heading}\n" in done.out
    assert "█" in done.out and "of 13 jobs" in done.out
    assert "[bold red]things[/]" in done.out and "\\x1b[2J" in done.out and "\x1b" not in done.out
    assert max(map(len, done.out.splitlines())) <= 110


def test_a_page_is_written_whole(balsam: Balsam, campaign: str, home: Path) -> None:
    done = balsam("report", "--tag", campaign, "-o", "report.html", "--title", "Mine & yours")
    assert done.status == 0 and done.out == "" and done.err == "Wrote report.html.\n"
    text = (home / "report.html").read_text()
    assert text.lstrip().startswith("<!doctype html>") and text.rstrip().endswith("</html>")
    assert "<h1>Mine &amp; yours</h1>" in text and "tag campaign: hostile" in text
    assert [path.name for path in home.iterdir() if path.name.startswith(".report")] == []
    assert (home / "report.html").stat().st_mode & 0o777 == 0o644
    assert balsam("report", "--tag", campaign, "--format", "html").out.count("</html>") == 1


def test_links_and_pipes_stay_what_they_are(balsam: Balsam, campaign: str, home: Path) -> None:
    (home / "real.json").write_text("old")
    (home / "link.json").symlink_to("real.json")
    assert balsam("report", "-t", campaign, "-o", "link.json").status == 0
    assert (home / "link.json").is_symlink() and json.loads((home / "real.json").read_text())["attempts"]
    os.mkfifo(home / "pipe.json")
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit((home / "pipe.json").read_text)
        assert balsam("report", "-t", campaign, "-o", "pipe.json").status == 0
        assert json.loads(read.result(10))["num_attempts"] == 12
    assert (home / "pipe.json").is_fifo()


def test_figures(balsam: Balsam, campaign: str, home: Path) -> None:
    done = balsam("report", "--tag", campaign, "-o", "report.png")
    assert done.status == 0, done.err
    assert (home / "report.png").read_bytes().startswith(b"\x89PNG")
    assert balsam("report", "--tag", campaign, "-o", "report.svg").status == 0
    assert ElementTree.parse(home / "report.svg").getroot().tag.endswith("svg")


def test_data(balsam: Balsam, campaign: str) -> None:
    told = json.loads(balsam("report", "--tag", campaign, "-f", "json", "-n", "5").out)
    assert told["num_attempts"] == 12 and len(told["attempts"]) == 5
    rows = list(csv.DictReader(io.StringIO(balsam("report", "--tag", campaign, "-f", "csv").out)))
    assert len(rows) == 12 and {row["site"] for row in rows} == {"lab"}
    assert balsam("report", "-t", "campaign=other", "-f", "csv").out.count("\n") == 1
    assert balsam("report", "-t", campaign, "-o", "attempts.csv").status == 0
    assert b"\r" not in Path("attempts.csv").read_bytes()


@pytest.mark.parametrize("form", ["text", "html", "csv", "json"])
def test_a_terminal_gets_no_control_characters(form: str, campaign: str) -> None:
    command = [sys.executable, "-m", "balsam.cli.main", "report", "--tag", campaign, "-f", form]
    with Terminal(command, {**os.environ, "NO_COLOR": "1", "TERM": "dumb"}) as terminal:
        assert terminal.process.wait(60) == 0
    # Leaving the block waits until all of it is read.
    assert "things" in terminal.text and "2J" in terminal.text
    assert "\x1b[2J" not in terminal.text


def test_what_is_chosen(balsam: Balsam, campaign: str) -> None:
    def attempts(*words: object) -> int:
        done = balsam("report", "-f", "json", *words)
        assert done.status == 0, done.err
        return int(json.loads(done.out)["num_attempts"])

    batch_job = BatchJob.objects.all()[0].id
    assert attempts() == attempts("--site", "lab") == attempts("-b", batch_job) == 12
    assert attempts("-b", batch_job, "-t", "size=0") == attempts("--tag", "size=0") == 4
    assert attempts("--state", "FAILED") == attempts("-ns", "job_finished") == 3
    assert attempts("--workdir", "sims/3") == 1
    assert attempts("--since", "1h") == 12 and attempts("--since", "1m") == 0
    assert attempts("--until", f"{campaigns.START:%Y-%m-%dT%H:%M:%S+00:00}") == 0
    assert f"no BatchJob {batch_job + 1}" in balsam("report", "-b", batch_job + 1).err


def test_what_can_not_be_done(balsam: Balsam, campaign: str) -> None:
    done = balsam("report", "--since", "yesterday")
    assert done.status == 2 and "'yesterday' is neither a time" in done.err
    for age in ("99999999999999w", "9" * 5000 + "d"):
        done = balsam("report", "--since", age)
        assert done.status == 2 and "longer ago than any time" in done.err
    done = balsam("report", "--since", "1h", "--until", "2h")
    assert done.status == 2 and "--until is not after --since" in done.err
    done = balsam("report", "-o", "nowhere/report.html")
    assert done.status == 1 and "there is no folder" in done.err
    done = balsam("report", "--app", "Nothing")
    assert done.status == 2 and "no app 'Nothing'" in done.err


def test_a_name_of_no_format_is_refused(balsam: Balsam, campaign: str, home: Path) -> None:
    done = balsam("report", "--tag", campaign, "-o", "report.pdf")
    assert done.status == 2 and ".pdf names no format" in done.err and not (home / "report.pdf").exists()
    assert balsam("report", "--tag", campaign, "-o", "report.pdf", "-f", "json").status == 0


def test_nothing_is_reported_in_a_line_or_two(balsam: Balsam, campaign: str) -> None:
    done = balsam("report", "--tag", "campaign=none")
    assert done.status == 0 and "Jobs" in done.out and len(done.out.splitlines()) < 6


def test_blocks_are_as_high_as_their_values() -> None:
    assert blocks([0, 1, 2, 4], 4, 2) == ["   █", " ▄██"]
    assert blocks([0.001], 4, 2) == [" ", "▁"]


def test_a_chart_is_sampled_in_the_middle_of_its_columns() -> None:
    second = [UtcDatetime.of_us(number * 1_000_000) for number in range(11)]
    series = ([second[2], second[6], second[8]], [1.0, 3.0, 0.0])
    assert sampled(series, Times(second[0], second[10]), 5) == [0, 1, 1, 3, 0]
