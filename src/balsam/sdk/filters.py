"""What a filter of a query may be given, and what several of them choose together.

Nothing that is given by accident widens a query. Of a filter that takes several values any may match: an
empty list of them matches nothing. What matches all of its values (tags, data) would match everything where
it is empty, and so would None or an empty text: these are refused, for they come of an object that was not
saved or of a variable that was not set. Whoever wants all objects leaves the filter out.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import PurePath
from typing import Any, cast

from balsam.core.clock import UtcDatetime
from balsam.core.tags import tags_of
from balsam.sdk.fields import WrongType
from balsam.sdk.spelling import unknown

PAIRED = ("tags", "filter_tags", "data")  # filters of key and value pairs, all of which must match
TagFilter = Mapping[str, Any] | str | Iterable[str]  # a dict, or texts KEY=VALUE
MATCHES_NOTHING: list[Any] = []


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter of one kind of object: `takes_several` values, or one; `members` that its values are of."""

    noun: str
    name: str
    takes_several: bool = False
    members: type[Enum] | None = None

    def __str__(self) -> str:
        return f"the filter {self.name!r} of {self.noun}"

    def read(self, given: Any) -> Any:
        """The value to send: a dict, a list or one value; WrongType, ValueError for what chooses none."""
        if given is None:
            raise WrongType(
                f"{self} is None, and an object that is not saved has no id: leave the filter out if it is "
                "not to choose"
            )
        if self.name in PAIRED:
            return self._pairs(given)
        if not isinstance(given, Iterable) or _is_single(given):
            return self._member(given)
        if not self.takes_several:
            raise WrongType(f"{self} takes one value, not several")
        return list(dict.fromkeys(self._member(one) for one in given))

    def _pairs(self, given: Any) -> dict[str, str]:
        if isinstance(given, Mapping):
            pairs = {self._key(key): self._pair_value(key, value) for key, value in given.items()}
        elif isinstance(given, Iterable) and not isinstance(given, bytes):
            texts = [given] if isinstance(given, str) else list(given)
            if not all(isinstance(text, str) for text in texts):
                raise WrongType(self._wants_pairs(given))
            try:
                pairs = tags_of(texts)
            except ValueError as exc:
                raise WrongType(f"{self._wants_pairs(given)}: {exc}") from exc
        else:
            raise WrongType(self._wants_pairs(given))
        if not pairs:
            raise WrongType(f"{self} is empty, and would choose all: leave it out if all are meant")
        return pairs

    def _wants_pairs(self, given: object) -> str:
        return f'{self} takes a dict, such as {{"key": "value"}}, or texts KEY=VALUE, and not {given!r}'

    def _key(self, key: object) -> str:
        text = str(key)
        if not text.strip() or ":" in text:
            raise WrongType(f"{self} has the key {text!r}: a key is no empty text and holds no colon")
        return text

    def _pair_value(self, key: object, value: Any) -> str:
        if value is None or not isinstance(value, (str, int, float, Enum)):
            raise WrongType(f"{self} has {value!r} for {key!r}: a text or a number is needed")
        return str(value.value if isinstance(value, Enum) else value)

    def _member(self, value: Any) -> Any:
        if value is None:
            raise WrongType(f"{self} has None among its values: an object that is not saved has no id")
        if self.members is not None:
            known = [member.value for member in self.members]
            if value not in known:
                raise ValueError(unknown(str(self), str(value), known))
            return self.members(value).value
        if self.name == "id" or self.name.endswith("_id"):
            return self._id(value)
        if isinstance(value, (str, PurePath, bytes)) and not str(value).strip():
            raise WrongType(f"{self} is an empty text: leave it out if it is not to choose")
        if isinstance(value, (Mapping, bytes)):
            raise WrongType(f"{self} can't be {value!r}")
        return value

    def _id(self, value: Any) -> int:
        if hasattr(value, "FIELDS") and hasattr(value, "id"):  # an object in place of its id
            if value.id is None:
                raise WrongType(f"{self} has a {type(value).__name__} that is not saved, and so has no id")
            return int(value.id)
        if isinstance(value, str) and value.strip().lstrip("-").isdecimal():
            return int(value)
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            return int(value)  # as data frames hold them
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise WrongType(f"{self} takes ids, and {value!r} is none")
        return operator.index(value)


def both(filter: Filter, old: Any, new: Any) -> Any:
    """What one filter that was given twice chooses: what each of the two does."""
    if isinstance(old, dict):
        has_conflict = any(old.get(key, value) != value for key, value in new.items())
        return MATCHES_NOTHING if has_conflict else {**old, **new}
    if filter.takes_several:
        olds, news = (value if isinstance(value, list) else [value] for value in (old, new))
        common = [value for value in news if value in olds]
        return common[0] if len(common) == 1 and not isinstance(new, list) else common
    if isinstance(old, list):  # what matches nothing
        return old
    if filter.name.endswith(("_before", "_after")):
        return _narrower(old, new, earlier=filter.name.endswith("_before"))
    if old == new:
        return new
    if filter.name in ("state__ne", "workdir__contains", "path", "site_path"):
        raise ValueError(f"{filter} is {old!r} already, and can't be {new!r} as well: filter by one of them")
    return MATCHES_NOTHING


def _narrower(old: Any, new: Any, *, earlier: bool) -> Any:
    times = [_time(old), _time(new)]
    return (old, new)[times.index(min(times) if earlier else max(times))]


def _time(value: Any) -> UtcDatetime:
    return UtcDatetime.of(value) if isinstance(value, datetime) else UtcDatetime.parse(cast(str, value))


def _is_single(value: Any) -> bool:
    return isinstance(value, (str, bytes, PurePath, Mapping, Enum, type))
