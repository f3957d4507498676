"""Field types that several nouns share: ids, texts that a database can hold, UTC times."""

import re
from datetime import UTC, datetime
from functools import partial
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from balsam.core.limits import MAX_ID, MAX_NAME_CHARS, MAX_PATH_CHARS, MAX_REPORT_CHARS
from balsam.schemas.json_tree import MAX_DEPTH, as_tree


class Wire(BaseModel):
    """Base of what travels: unknown keys are ignored, as published."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its fields, which every release knows, not by how pydantic holds them."""
        return partial(type(self), **dict(self)), ()


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not hold a NUL character")
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError("must be valid Unicode (a lone surrogate was found)")
    return text


def storable(text: str) -> str:
    """The text with what no database holds replaced."""
    if "\x00" in text or not text.isascii():
        return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")
    return text


def _mended_tree(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return storable(value)
    if depth > MAX_DEPTH:
        return value  # which is refused next
    if isinstance(value, dict):
        return {storable(str(key)): _mended_tree(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_mended_tree(inner, depth + 1) for inner in value]
    return value


def _end_of_text(value: Any) -> Any:
    value = _number_to_text(value)
    return storable(value)[-MAX_REPORT_CHARS:] if isinstance(value, str) else value


def _as_utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is not a time that UTC can express") from None


def _number_to_text(value: Any) -> Any:
    return str(value) if isinstance(value, (int, float, bool)) else value


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Paths that are already what `_relative_inside` makes of them; most are, and PurePosixPath is slow.
_PLAIN_PATH = re.compile(r"(?!\.)[^/]+(/(?!\.)[^/]+)*")


def _relative_inside(path: str) -> str:
    if _PLAIN_PATH.fullmatch(path):
        return path
    pure = PurePosixPath(path)
    if pure.is_absolute():
        raise ValueError("must be relative to the site's data folder, and is absolute")
    if not pure.parts:
        raise ValueError("must name a folder below the site's data folder")
    if ".." in pure.parts:
        raise ValueError("must stay inside the site's data folder, and holds '..'")
    return str(pure)


def _absolute(path: str) -> str:
    if not PurePosixPath(path).is_absolute():
        raise ValueError("must be an absolute path")
    return path


# Numbers that are numbers: no text, no truth value. A fraction that is whole is one, for JSON knows no other.
Whole = Annotated[int, Field(strict=True), BeforeValidator(_whole)]
Real = Annotated[float, Field(strict=True)]
Id = Annotated[int, Field(ge=0, le=MAX_ID)]
Int64 = Annotated[int, Field(ge=-MAX_ID, le=MAX_ID)]
Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS), AfterValidator(_storable)]
Stringy = Annotated[str, BeforeValidator(_number_to_text), Field(max_length=4096), AfterValidator(_storable)]
# What programs printed: cut and mended rather than refused, or a report would never be taken.
Report = Annotated[str, BeforeValidator(_end_of_text)]
ReportDict = Annotated[dict[str, Any], BeforeValidator(_mended_tree), AfterValidator(as_tree)]
Tags = dict[Annotated[Stringy, Field(max_length=256)], Stringy]
JsonDict = Annotated[dict[str, Any], AfterValidator(as_tree)]
Workdir = Annotated[
    str, Field(max_length=MAX_PATH_CHARS), AfterValidator(_storable), AfterValidator(_relative_inside)
]
AbsolutePath = Annotated[
    str, Field(max_length=MAX_PATH_CHARS), AfterValidator(_storable), AfterValidator(_absolute)
]
UtcTime = Annotated[datetime, AfterValidator(_as_utc)]
