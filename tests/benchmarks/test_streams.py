"""The benchmark of open streams measures every row on both engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import serving, streams
from benchmarks.streams import Load


@pytest.mark.parametrize("name", serving.ENGINES)
def test_streams_are_measured_beside_requests(name: str, tmp_path: Path) -> None:
    with serving.engine(name, tmp_path) as engine:
        rows = streams.measure(engine, Load(idle=5, slow=3, backlog=2_000, requests=10))
    answered, memory, *others = rows
    assert answered.value and answered.reference and answered.target == 2 * answered.reference
    assert memory.unit == "MB more" and len(others) == (2 if name == serving.POSTGRESQL else 1)
