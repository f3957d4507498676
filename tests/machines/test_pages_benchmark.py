"""The benchmark of the dashboard measures every row."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import pages, serving
from benchmarks.pages import Sizes


@pytest.mark.parametrize("name", serving.ENGINES)
def test_pages_are_timed_painted_and_left_open(name: str, tmp_path: Path) -> None:
    with serving.engine(name, tmp_path) as engine:
        rows = pages.measure(engine, Sizes(jobs=500, minutes=0.1, judged=True))
    assert all(row.value for row in rows)
    answers = [row for row in rows if row.name.startswith("answer: ")]
    assert len(answers) == len(pages.FILTERS) + len(pages.PARTS) + len(pages.WHOLE)
    assert {row.target for row in rows if row.name.startswith("first paint: ")} == {pages.PAINT_MS}
    heap, nodes = rows[-2:]
    assert heap.unit == "MiB" and nodes.target == pages.GROWTH * (nodes.reference or 0)
