"""The benchmark runs and tells what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.first_light import rate_row, seconds_row

PROJECT = Path(__file__).resolve().parents[2]


def test_a_rate_is_judged_by_its_target_and_compared_with_its_reference() -> None:
    assert rate_row("x", 50.0, 100.0, 40).ok
    assert rate_row("x", 50.0, 100.0, 40).ratio == 0.5
    assert not rate_row("x", 10.0, 100.0, 40).ok
    assert rate_row("x", 50.0, None, 40).ratio is None


def test_seconds_are_better_when_fewer() -> None:
    assert seconds_row("x", 0.1, 0.001, 0.5).ok
    assert seconds_row("x", 0.5, 0.25, 1).ratio == 0.5
    assert not seconds_row("x", 0.6, 0.001, 0.5).ok


def test_quick_run_writes_all_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    command = [sys.executable, "benchmarks/first_light.py", "--quick", "--json", str(file)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    assert file.exists(), done.stdout + done.stderr
    rows = json.loads(file.read_text())["rows"]
    assert len(rows) == 4
    for row in rows:
        assert set(row) == {"name", "value", "unit", "reference", "ratio", "target", "ok"}
        assert row["value"] > 0
        assert row["name"] in done.stdout
