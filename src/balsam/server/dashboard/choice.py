"""The filters of the job list: the same as in the REST interface and on the command line, from a form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from starlette.datastructures import FormData, QueryParams

from balsam.core.clock import naive_text, to_us
from balsam.core.errors import Invalid
from balsam.core.tags import tag_of
from balsam.server.dashboard import words
from balsam.server.queries import JobSelection

_BETWEEN_TAGS = re.compile(r",\s*(?=[^,:=]+[:=])")  # a comma before another `key=`; values may hold commas
IDS = ("id", "parent_id", "app_id", "site_id", "batch_job_id", "session_id")  # several in a field, too
LISTS = (*IDS, "state", "tags")
NONE = JobSelection.model_validate({"id": []})  # chooses no job
NAMES = frozenset(JobSelection.model_fields)


def sent(params: QueryParams | FormData) -> dict[str, Any]:
    """What a form says, without the fields that were left empty."""
    values: dict[str, Any] = {}
    for name in NAMES & set(params):
        given = [text.strip() for text in map(str, params.getlist(name)) if str(text).strip()]
        if name == "tags":
            given = [tag for text in given for tag in tags_in(text)]
        elif name in IDS:
            given = [one for text in given for one in text.replace(",", " ").split()]
        if given:
            values[name] = given if name in LISTS else given[-1]
    return values


def whole(text: object) -> int | None:
    """The number or id that a field holds; None where it holds none that there can be."""
    told = str(text)
    return int(told) if told.isdecimal() and len(told) < 19 else None


def tags_in(text: str) -> list[str]:
    """The tags of a field, `key=value, key=value`; a colon does as well."""
    return [one.strip() for one in _BETWEEN_TAGS.split(text) if one.strip()]


def wire_tag(text: str) -> str:
    """As requests have it, `key:value`; Invalid for what is no tag."""
    try:
        return ":".join(tag_of(text))
    except ValueError as exc:
        raise Invalid(str(exc)) from exc


@dataclass(frozen=True, slots=True)
class Choice:
    """Which jobs, and the same as fields of a form or of an address, as they were typed.

    `fault`: what is wrong with them; then no job is chosen.
    """

    selection: JobSelection
    fields: Mapping[str, Any]
    fault: str = ""

    @classmethod
    def of(cls, params: QueryParams | FormData) -> Choice:
        """Raises pydantic's ValidationError, or Invalid, for what is no filter."""
        values = sent(params)
        tags = {"tags": [wire_tag(one) for one in values["tags"]]} if "tags" in values else {}
        selection = JobSelection.model_validate({**values, **tags})
        selection.filter()  # which judges the tags together
        return cls(selection, values)

    @classmethod
    def shown(cls, params: QueryParams | FormData) -> Choice:
        """The same for a page, whose form stays filled where a field is wrong."""
        try:
            return cls.of(params)
        except ValidationError as exc:
            return cls(NONE, sent(params), words.faults(exc.errors()))
        except Invalid as exc:
            return cls(NONE, sent(params), exc.sentence)

    @property
    def query(self) -> str:
        return words.query(**self.fields)

    def pairs(self) -> list[tuple[str, str]]:
        """For hidden fields of a form."""
        return [
            (name, str(one))
            for name, value in self.fields.items()
            for one in (value if isinstance(value, list) else [value])
        ]

    def has(self, name: str, value: object) -> bool:
        """Whether this value is chosen, for a form that shows what is."""
        chosen = self.fields.get(name)
        return str(value) in chosen if isinstance(chosen, list) else str(value) == chosen

    def text(self, name: str) -> str:
        value = self.fields.get(name, "")
        return ", ".join(value) if isinstance(value, list) else str(value)

    def time(self, name: str) -> str:
        """As an input of date and time takes it."""
        if self.fault:
            return str(self.fields.get(name, ""))
        moment = getattr(self.selection, name)
        return "" if moment is None else (naive_text(to_us(moment)) or "")[:16]
