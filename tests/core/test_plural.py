"""Nouns follow their numbers."""

from balsam.core.plural import counted


def test_one_has_no_s_and_all_else_has() -> None:
    assert [counted(n, "node") for n in (0, 1, 2, 1_000_000)] == [
        "0 nodes",
        "1 node",
        "2 nodes",
        "1000000 nodes",
    ]
    assert [counted(n, "GPU") for n in (0.5, 1.0, 2.0)] == ["0.5 GPUs", "1 GPU", "2 GPUs"]
