"""Pieces of outputs: what is read, where it begins and ends, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balsam.core.limits import MAX_TAIL_BYTES
from balsam.runtime.job_output import Piece, Unreadable, Wanted, decoded, read_piece


@pytest.fixture
def output(tmp_path: Path) -> Path:
    file = tmp_path / "data" / "w" / "job.out"
    file.parent.mkdir(parents=True)
    return file


def read(output: Path, lines: int | None = None, after: int | None = None, *, final: bool = False) -> Piece:
    return read_piece(output.parent.parent, Wanted("w", lines, after, final))


@pytest.mark.parametrize(
    ("content", "lines", "text"),
    [
        ("a\nb\nc\n", 2, "b\nc\n"),
        ("a\nb\nc", 2, "b\nc"),
        ("a\nb\nc", 9, "a\nb\nc"),
        ("a\n\n\n", 2, "\n\n"),
        ("a\nb", 0, ""),
        ("", 5, ""),
        ("one", 1, "one"),
        ("über\nß\n", 1, "ß\n"),
    ],
)
def test_the_last_lines(output: Path, content: str, lines: int, text: str) -> None:
    output.write_text(content)
    size = len(content.encode())
    assert read(output, lines) == Piece(text, size, size, str(output))


def test_what_comes_behind_an_offset(output: Path) -> None:
    output.write_text("0123456789")
    assert read(output, after=4) == Piece("456789", 10, 10, str(output))
    assert read(output, after=10).text == ""
    assert read(output, after=99).offset == 10  # the file was truncated


def test_no_file_yet_is_empty(output: Path) -> None:
    assert read(output, 10) == Piece("", 0, 0, str(output))


def test_one_piece_is_bounded_and_the_next_goes_on_behind_it(output: Path) -> None:
    output.write_text("ä" * 100_000)
    first = read(output, after=0)
    assert first.offset <= MAX_TAIL_BYTES < first.size
    text = first.text
    offset = first.offset
    while piece := read(output, after=offset).text:
        text += piece
        offset += len(piece.encode())
    assert text == "ä" * 100_000


def test_one_line_longer_than_a_piece_shows_its_end(output: Path) -> None:
    output.write_text("x" + "ä" * 100_000)
    piece = read(output, 1)
    assert set(piece.text) == {"ä"} and piece.offset == piece.size


def test_half_a_character_waits_for_its_rest_until_nobody_writes_any_more(output: Path) -> None:
    output.write_bytes("aß".encode()[:2])
    assert (read(output, after=0).text, read(output, after=0).offset) == ("a", 1)
    assert read(output, after=1).text == ""
    assert read(output, after=1, final=True).text == "\N{REPLACEMENT CHARACTER}"


@given(st.binary(max_size=200), st.integers(1, 7))
def test_pieces_of_any_bytes_are_together_what_they_are_at_once(data: bytes, width: int) -> None:
    text, start = "", 0
    while start < len(data):
        # As a file that grows: a piece has at least one whole character before it.
        end = min(len(data), start + max(4, width))
        piece, used = decoded(data[start:end], end == len(data))
        assert used > 0
        text, start = text + piece, start + used
    assert text == data.decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")


def test_links_out_of_the_data_folder_are_refused(output: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    output.symlink_to(secret)
    with pytest.raises(Unreadable, match="out of the site's data folder"):
        read(output, 10)
    output.unlink()
    output.parent.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "job.out").write_text("secret")
    output.parent.symlink_to(elsewhere)
    with pytest.raises(Unreadable, match="out of the site's data folder"):
        read(output, 10)


def test_a_data_folder_that_is_a_link_itself_is_the_sites_own(output: Path, tmp_path: Path) -> None:
    output.write_text("fine")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "data")
    assert read_piece(link, Wanted("w", 10, None, True)).text == "fine"


def test_what_is_no_file_is_refused_without_waiting(output: Path) -> None:
    os.mkfifo(output)
    with pytest.raises(Unreadable, match="is no file"):
        read(output, 10)
