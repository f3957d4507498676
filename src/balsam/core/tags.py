"""Tags as text: `key=value`, and `key:value` as release 0.7 wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SEPARATOR = re.compile("[=:]")


def tag_of(text: str) -> tuple[str, str]:
    """Key and value, parted by the first `=` or `:`; ValueError for a text without one, or without a key.

    A value may hold either character and may be empty.
    """
    found = _SEPARATOR.search(text)
    if found is None or not text[: found.start()].strip():
        raise ValueError(f"{text!r} is no tag: write KEY=VALUE")
    return text[: found.start()].strip(), text[found.end() :]


def tags_of(texts: Iterable[str]) -> dict[str, str]:
    """All of them; ValueError where one key has two values: no object has both."""
    tags: dict[str, str] = {}
    for key, value in map(tag_of, texts):
        if tags.setdefault(key, value) != value:
            raise ValueError(f"{key!r} can't be {tags[key]!r} and {value!r} at once: give one of them")
    return tags
