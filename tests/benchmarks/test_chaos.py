"""Twenty kills at random: nothing is lost, nothing runs twice at once."""

from __future__ import annotations

from pathlib import Path

from benchmarks import chaos

KILLS, SEED = 20, 4


def test_nothing_is_lost_whatever_is_killed(tmp_path: Path) -> None:
    campaign, verdict = chaos.run(tmp_path, KILLS, SEED, "sqlite")
    assert sum(campaign.kills.values()) == KILLS
    assert verdict.jobs >= len(campaign.ids) > 50
    assert not any(verdict.faults.values()), (verdict, campaign.log)


def test_overlapping_runs_are_noticed() -> None:
    diary = "start 1 10 1.0\nbeat 1 10 1.5\nstart 1 11 1.4\nend 1 11 2.0\n"
    assert chaos.overlap(chaos.read_diary(diary)[1])
    after = "start 1 10 1.0\nbeat 1 10 1.5\nstart 1 11 1.6\nend 1 11 2.0\n"
    assert not chaos.overlap(chaos.read_diary(after)[1])
