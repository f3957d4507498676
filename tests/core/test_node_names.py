"""Names of nodes cut short: values in, values out."""

from __future__ import annotations

import pytest

from balsam.core.node_names import short_names


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["x3005c0s0b0n0.hsn.lab.gov", "x3005c0s1b0n0.hsn.lab.gov"], ["x3005c0s0b0n0", "x3005c0s1b0n0"]),
        (["node1.east", "node1.west"], ["node1.east", "node1.west"]),
        (["10.0.0.1", "10.0.0.2"], ["10.0.0.1", "10.0.0.2"]),
        (["a-partition-with-a-long-name-17", "b"], ["a-partit…g-name-17", "b"]),
        ([], []),
    ],
)
def test_names_are_short_and_stay_different(names: list[str], short: list[str]) -> None:
    """The kind: names that are cut where they differ."""
    assert short_names(names, 18) == short
    assert len(set(short)) == len(set(names)) and all(len(one) <= 18 for one in short)
