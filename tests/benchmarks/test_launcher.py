"""The benchmark of the launcher measures every row, beside those peers that are there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import launcher, peers, report
from benchmarks.allocation import Allocation
from benchmarks.launcher import CHOICES, Sizes, measure
from benchmarks.light_workers import PROGRAM
from benchmarks.peers import Peer, PeerMissing
from benchmarks.report import Row

TINY = Sizes(
    shell=20,
    python=20,
    rounds=1,
    latency=3,
    mpi=2,
    busy=Allocation(nodes=2, slots=4, job_sec=0.5, seconds=2.0),
    stub=Allocation(nodes=2, slots=4, job_sec=0.2, seconds=2.0),
    judged=False,
)


def test_every_row_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    report.publish(measure(TINY, CHOICES, []), file, "reference")
    rows = {row["name"]: row for row in json.loads(file.read_text())["rows"]}
    assert all(row["ok"] is None for row in rows.values()), "so few can't be judged"
    no_mpi = f"mpi mode, 2 ranks: no {PROGRAM} here"
    assert (no_mpi in rows) is (shutil.which(PROGRAM) is None)
    assert all(row["value"] >= 0 for name, row in rows.items() if name != no_mpi)
    assert rows["shell jobs beside a bare loop"]["reference"] > 0
    assert rows["shell jobs"]["target"] == 600
    assert rows["run() jobs"]["target"] == 1500
    assert 0 < rows["submit() to result(), median"]["value"] <= rows["submit() to result(), p95"]["value"]
    assert 50 < rows["2 nodes of 4 slots, jobs of 0.5 s: slots busy"]["value"] <= 100
    assert rows["starts and ends, leader and a stub server"]["value"] > 10
    assert rows["told to the stub server"]["value"] > 10


def peer_row(count: int) -> Row:
    (row,) = launcher.peer_rows("shell jobs", 500.0, {"dask": [240.0, 200.0, 220.0]}, {"dask": 2.0}, count)
    return row


def test_peers_are_judged_by_their_median_at_ten_thousand_jobs_only() -> None:
    row = peer_row(10_000)
    assert (row.reference, row.target, row.ok) == (220.0, 440.0, True)
    assert peer_row(300).ok is None


def test_peer_that_can_not_be_measured_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    peer = Peer(tmp_path.name, "Nobody", "a-package-that-is-not-there", tmp_path)
    with pytest.raises(PeerMissing, match=r"a-package-that-is-not-there|failed"):
        peer.interpreter()
    assert not peer.is_installed
    assert {peer.name for peer in peers.PEERS.values()} == {"hyperqueue", "parsl", "dask"}
