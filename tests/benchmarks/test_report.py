"""Rows of figures: judged by their targets, compared with their references, never hidden."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.report import RED, less_is_better, more_is_better, publish, table, unjudged

MISSED = more_is_better("slow thing", 10.0, "jobs/s", 100.0, 40)
MET = less_is_better("short thing", 0.1, "s", 0.05, 0.5)


def test_a_rate_is_judged_by_its_floor_and_compared_with_its_reference() -> None:
    assert more_is_better("x", 50.0, "jobs/s", 100.0, 40).ok is True
    assert more_is_better("x", 50.0, "jobs/s", 100.0, 40).ratio == 0.5
    assert MISSED.ok is False
    assert more_is_better("x", 50.0, "jobs/s", None, 40).ratio is None


def test_a_time_is_better_when_shorter() -> None:
    assert MET.ok is True
    assert less_is_better("x", 0.5, "s", 0.25, 1).ratio == 0.5
    assert less_is_better("x", 0.6, "s", 0.001, 0.5).ok is False


def test_what_has_no_target_or_ran_too_shortly_is_not_judged() -> None:
    assert more_is_better("x", 1.0, "jobs/s", None, None).ok is None
    assert unjudged(MISSED).ok is None
    assert "not judged" in table([unjudged(MISSED)], "", coloured=False)


def test_a_missed_target_is_said_in_words_and_in_red() -> None:
    [_, missed, met] = table([MISSED, MET], "", coloured=True).splitlines()
    assert missed.startswith(RED) and "slow thing" in missed and "MISSED" in missed
    assert RED not in met and met.endswith("ok")
    assert RED not in table([MISSED], "", coloured=False)


def test_the_file_holds_what_the_table_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.json"
    assert publish([MISSED, MET], file, "reference") == 1
    rows = json.loads(file.read_text())["rows"]
    assert [row["ok"] for row in rows] == [False, True]
    assert rows[0] == {
        "name": "slow thing",
        "value": 10.0,
        "unit": "jobs/s",
        "reference": 100.0,
        "ratio": 0.1,
        "target": 40,
        "ok": False,
    }
    assert all(row["name"] in capsys.readouterr().out for row in rows[:1])
    assert publish([MET], None, "reference") == 0
