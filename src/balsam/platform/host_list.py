"""The short forms in which batch systems write lists: hosts, numbers, counts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

_REPEAT = re.compile(r"(\d+)(?:\(x(\d+)\))?")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
_HOST = re.compile(r"[\w.:-]+")
_PART = re.compile(r"\[([^\[\]]*)\]|([^\[\],]+)")


class HostListError(ValueError):
    """A list that can't be read; the sentence quotes it."""


def expand_hosts(text: str) -> list[str]:
    """The hosts of a list such as `nid[0001-0004,0007],login1`, in its order; zeros in front are kept."""
    return [host for item in _items(text) for host in _hosts_of(item, text)]


def expand_number_ranges(text: str) -> list[int]:
    """The numbers of a list such as `0-3,8`."""
    return [int(number) for number in _numbers(text.strip(), text)]


def expand_repeats(text: str) -> list[int]:
    """The counts of a list such as `64(x3),32`: one for each node."""
    counts: list[int] = []
    for item in text.strip().split(","):
        match = _REPEAT.fullmatch(item)
        if match is None:
            raise HostListError(f"{text!r} is no list of counts: {item!r} should read 64 or 64(x3)")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def unique_lines(text: str) -> list[str]:
    """Each line once, in order of its first place, without empty ones."""
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))


def _items(text: str) -> Iterator[str]:
    """The parts between those commas that stand outside of brackets."""
    depth, item = 0, ""
    for letter in text.strip():
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            yield item
            item = ""
        else:
            item += letter
        if depth not in (0, 1):
            raise HostListError(f"{text!r} is no list of hosts: its brackets do not match")
    if depth:
        raise HostListError(f"{text!r} is no list of hosts: its brackets do not match")
    yield item


def _hosts_of(item: str, text: str) -> Iterator[str]:
    parts = [_numbers(ranges, text) if ranges else [plain] for ranges, plain in _PART.findall(item)]
    if not parts or "[]" in item:
        raise HostListError(f"{text!r} is no list of hosts: a part of it is empty")
    if not all(_HOST.fullmatch(piece) for part in parts for piece in part):
        raise HostListError(f"{text!r} is no list of hosts: {item!r} is no name of any")
    return ("".join(choice) for choice in product(*parts))


def _numbers(ranges: str, text: str) -> list[str]:
    """The numbers of `0001-0004,0007`, as wide as the first of each range."""
    numbers: list[str] = []
    for item in ranges.split(","):
        match = _RANGE.fullmatch(item)
        if match is None:
            raise HostListError(f"{text!r} can't be read: {item!r} should be a number or a range such as 1-4")
        first, last = match[1], match[2] or match[1]
        if int(last) < int(first):
            raise HostListError(f"{text!r} can't be read: the range {item!r} runs backwards")
        numbers += [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]
    return numbers
