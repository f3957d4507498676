"""What is cut says so, and keeps its last line."""

from balsam.core.cutting import without_middle


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    text = "RuntimeError: nested\n" + "frame\n" * 1_000 + "ValueError: the cause"
    short = without_middle(text, 300)
    assert len(short) <= 300 and short.startswith("RuntimeError: nested")
    assert short.endswith("ValueError: the cause") and "characters left out" in short
    assert without_middle("short", 300) == "short"
