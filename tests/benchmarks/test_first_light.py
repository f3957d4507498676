"""The benchmark runs and tells what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


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
