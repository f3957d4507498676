"""The benchmarks of the server measure every row on both engines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import grown, load, report, serving
from benchmarks.load import Load
from benchmarks.server import CHOICES, Sizes, measure

TINY = Sizes(jobs=60, rounds=1, gets=5, lists=2, grown=1_000, idle_sec=0.2, judged=False)
BULK_ROWS = (
    "bulk_create",
    "acquire, 1,024 a call",
    "bulk PREPROCESSED to RUNNING",
    "bulk RUN_DONE to JOB_FINISHED",
)


@pytest.mark.parametrize("name", serving.ENGINES)
def test_every_row_is_measured(name: str, tmp_path: Path) -> None:
    with serving.engine(name, tmp_path) as engine:
        rows = {row.name: row for row in measure(engine, TINY, CHOICES)}
    for step in BULK_ROWS:
        assert rows[f"{name}: {step}"].reference, "the driver alone has done the same"
        assert rows[f"{name}: {step}, among 1,000"].reference == rows[f"{name}: {step}"].value
        assert rows[f"{name}: {step}, among 1,000"].ok is None, "a small database can't tell"
    assert rows[f"{name}: GET /jobs/?limit=1, median"].target == 2.5
    assert rows[f"{name}: count() by campaign and lot, among 1,000"].target == 10
    assert rows[f"{name}: newest 100 of a quiet site, among 1,000"].target == 40
    assert (rows[f"{name}: idle, 100 streams: memory"].value or 0) > 10
    assert all((row.value or 0) > 0 for row in rows.values() if "processor" not in row.name)


@pytest.mark.parametrize("name", serving.ENGINES)
def test_simulated_sites_are_answered_without_errors(name: str, tmp_path: Path) -> None:
    with serving.engine(name, tmp_path) as engine:
        rows = load.measure(engine, Load(sites=2, seconds=2.5, generators=1, streams=True))
    values = {row.name: row.value or 0.0 for row in rows}
    assert values[f"{name}: errors"] == 0
    assert values[f"{name}: requests answered"] > 0
    assert 0 < values[f"{name}: all routes, p50"] <= values[f"{name}: all routes, p99"]
    assert values[f"{name}: processor of the server"] > 0


def test_single_rows_can_be_chosen(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    with serving.engine(serving.SQLITE, tmp_path) as engine:
        report.publish(measure(engine, TINY, ["create"]), file, "reference")
    rows = json.loads(file.read_text())["rows"]
    assert [row["name"] for row in rows] == ["sqlite: bulk_create", "sqlite: memory after these"]


def test_tags_of_the_large_database_match_as_many_jobs_as_they_should() -> None:
    assert grown.matches({"campaign": "c0", "lot": "l0"}, 10_000) == 10
    assert grown.matches({"campaign": "c0", "sample": "s0"}, 10_000) == 10
    assert grown.matches({"campaign": "c1", "sample": "s0"}, 10_000) == 0


def test_percentiles_of_few_and_many() -> None:
    assert load.percentiles([float(n) for n in range(101)]) == {50: 50.0, 95: 95.0, 99: 99.0}
    assert load.percentiles([3.0]) == {50: 3.0, 95: 3.0, 99: 3.0}
    assert load.percentiles([]) == {50: 0.0, 95: 0.0, 99: 0.0}
