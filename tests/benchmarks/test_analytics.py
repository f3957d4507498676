"""The benchmark of reports measures every row on both engines, and finds that numpy says the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import analytics, serving
from benchmarks.analytics import Sizes


@pytest.mark.parametrize("name", serving.ENGINES)
def test_reports_are_measured_beside_numpy(name: str, tmp_path: Path) -> None:
    with serving.engine(name, tmp_path) as engine:
        rows = analytics.measure(engine, Sizes(jobs=200, points=300, rounds=1, judged=True))
    assert [row.target for row in rows] == [1.5, 2.5, 0.4, 0.4, None, None]
    assert all(row.value and row.reference for row in rows)
