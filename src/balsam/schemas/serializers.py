"""Which payloads open here, judged by what has made them.

Pickles hold values, which open everywhere, and code: functions and classes by value, in the bytecode of one
minor version of Python. Elsewhere such code opens without a word and crashes the interpreter when it is run.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import orjson

# What cloudpickle and dill write before a code object.
_CODE_MARKS = (b"CodeType", b"_create_code")
# In a pickle that needs cloudpickle to be opened, and in one that names any class or function.
BY_VALUE, NAMES_SOMETHING = b"cloudpickle", b"\x93"
_SIGNATURE = b"\n#made-with:"


@dataclass(frozen=True, slots=True)
class Maker:
    """What a payload was made with: e.g. `cloudpickle`, `3.1.2`, `3.11`."""

    name: str
    version: str
    python: str

    def __str__(self) -> str:
        return f"Python {self.python} and {self.name} {self.version}"

    @classmethod
    def of_record(cls, record: Mapping[str, str]) -> Maker:
        return cls(record["name"], record["version"], record["python"])


def here() -> Maker:
    """What this process serializes with."""
    return Maker.of_record(serializer_info())


@cache
def serializer_info() -> dict[str, str]:
    """Name, version and Python of what this process serializes with."""
    import cloudpickle

    return {
        "name": "cloudpickle",
        "version": str(cloudpickle.__version__),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }


def holds_code(raw: bytes) -> bool:
    """Whether a pickle holds functions or classes by value."""
    return any(mark in raw for mark in _CODE_MARKS)


def runs_code_of(own: Maker, made: Maker) -> bool:
    """Whether `own` runs code that `made` wrote: it takes the same minor version of Python and serializer.

    Versions of cloudpickle with the same major number open each other's payloads.
    """
    same_series = made.version.partition(".")[0] == own.version.partition(".")[0]
    return (made.name, made.python) == (own.name, own.python) and same_series


def signed(raw: bytes) -> bytes:
    """A pickle that tells its maker, for those that travel without a record of it.

    What follows the end of a pickle is read by nobody, the published client included.
    """
    return raw + _signature()


@cache
def _signature() -> bytes:
    return _SIGNATURE + orjson.dumps(serializer_info())


def maker_of(raw: bytes) -> Maker | None:
    """Who signed a pickle; None for one that nobody did."""
    _, mark, record = raw.rpartition(_SIGNATURE)
    if not mark:
        return None
    try:
        return Maker.of_record(orjson.loads(record))
    except (ValueError, KeyError, TypeError):
        return None  # the value itself holds those words
