"""What can be said of a bash script by reading it: what stands first, what stands within quotes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

_HERE = re.compile(r"<<(?P<dash>-?)[ \t]*(?P<end>'[^'\n]*'|\"[^\"\n]*\"|[^\s;&|<>()]+)")


def is_empty(text: str) -> bool:
    """Whether a script holds no command: blank lines and comments alone."""
    return first_command(text) == len(text)


def first_command(text: str) -> int:
    """Where the first command begins, behind blank lines and comments."""
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
        elif text[place] == "#":
            end = text.find("\n", place)
            place = len(text) if end < 0 else end + 1
        else:
            return place
    return len(text)


class Within(StrEnum):
    """What a place of a script stands in; the values are words for messages."""

    nothing = ""
    single = "single quotes"
    double = "double quotes"
    comment = "a comment"
    document = "a here-document"


@dataclass
class _Reader:
    """Reads a script bit by bit, as far as quotes, comments and here-documents go."""

    stack: list[Within] = field(default_factory=lambda: [Within.nothing])
    due: list[tuple[str, bool]] = field(default_factory=list)  # here-documents that begin with the next line
    line: str = ""  # of a here-document
    before: str = "\n"

    @property
    def within(self) -> Within:
        return self.stack[-1]

    def read(self, text: str) -> None:
        place = 0
        while place < len(text):
            place += self._step(text, place)
            self.before = text[place - 1]

    def _step(self, text: str, place: int) -> int:
        char, within = text[place], self.within
        if within is Within.document:
            return self._document(char)
        if char == "\n" and within in (Within.nothing, Within.comment):
            if within is Within.comment:
                self.stack.pop()
            if self.due and self.within is Within.nothing:
                self.stack.append(Within.document)
            return 1
        if within is Within.comment:
            return 1
        if within is Within.single:
            if char == "'":
                self.stack.pop()
            return 1
        if char == "\\":
            return min(2, len(text) - place)
        return self._double(text, place) if within is Within.double else self._bare(text, place)

    def _double(self, text: str, place: int) -> int:
        if text[place] == '"':
            self.stack.pop()
        elif text.startswith("$(", place):
            self.stack.append(Within.nothing)
            return 2
        return 1

    def _bare(self, text: str, place: int) -> int:
        char = text[place]
        if char == "'":
            self.stack.append(Within.single)
        elif char == '"':
            self.stack.append(Within.double)
        elif char == "(" and not text.startswith("((", place):
            self.stack.append(Within.nothing)
        elif char == ")" and len(self.stack) > 1:
            self.stack.pop()
        elif char == "#" and self.before in " \t\n;(&|":
            self.stack.append(Within.comment)
        elif text.startswith("<<<", place):
            return 3
        elif text.startswith("((", place) and (end := text.find("))", place)) > 0:
            return end + 2 - place  # arithmetic: `<<` shifts there
        elif found := _HERE.match(text, place):
            word = found["end"].strip("'\"").replace("\\", "")
            self.due.append((word, bool(found["dash"])))
            return len(found[0])
        return 1

    def _document(self, char: str) -> int:
        if char != "\n":
            self.line += char
            return 1
        self._end_line()
        return 1

    def _end_line(self) -> None:
        end, dash = self.due[0]
        if (self.line.lstrip("\t") if dash else self.line) == end:
            del self.due[0]
            if not self.due:
                self.stack.pop()
        self.line = ""

    def unclosed(self) -> str | None:
        """The end that a here-document waits for in vain."""
        if self.within is Within.document:
            self._end_line()
        return self.due[0][0] if self.due else None


@dataclass(frozen=True, slots=True)
class Value:
    """A place of a script where a value is to be written."""

    name: str


def doubts(parts: Sequence[str | Value]) -> list[str]:
    """Sentences on a script whose values are words with quotes of their own, where it hardly takes them."""
    reader = _Reader()
    found = dict.fromkeys(_misplaced(reader, parts))
    end = reader.unclosed()
    if end is not None:
        found[
            f"the here-document that ends with {end!r} is never closed: that word must stand alone on a "
            f"line, at its beginning (lines lose only the indentation that all of them share)"
        ] = None
    return list(found)


def _misplaced(reader: _Reader, parts: Sequence[str | Value]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, str):
            reader.read(part)
            continue
        if reader.within in (Within.single, Within.double, Within.document):
            yield (
                f"the value of {part.name!r} stands within {reader.within}, and is written with quotes of "
                f"its own where it needs them: put it outside, or write {{{{ {part.name} | raw }}}} for text"
            )
        reader.before = "x"
        if reader.within is Within.document:
            reader.line += "x"
