"""The benchmark of the event log asks every question on both engines, and plain SQL answers the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import events, serving
from benchmarks.events import Sizes


@pytest.mark.parametrize("name", serving.ENGINES)
def test_every_question_is_asked_beside_plain_sql(name: str, tmp_path: Path) -> None:
    sizes = Sizes({name: 2_000}, columns=500, rounds=1, judged=True)
    with serving.engine(name, tmp_path) as engine, events.bench(engine, sizes) as bench:
        rows = bench.measure(sizes.columns)
    assert all(row.value for row in rows)
    names = [row.name for row in rows]
    assert sum(": page" in one for one in names) == sum(": count, " in one for one in names) > 30
    assert any("500 as to_columns()" in one for one in names)
    assert {row.target for row in rows if ": page" in row.name} == {None, 100, 150}
