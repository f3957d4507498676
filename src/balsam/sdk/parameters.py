"""A job's app parameters: as JSON where they are JSON, pickled always, checked against the app."""

from __future__ import annotations

import base64
import math
import pickle
from collections.abc import Mapping
from typing import Any

import orjson

from balsam.core.limits import MAX_ID, MAX_PAYLOAD_CHARS
from balsam.schemas import AppParameter, deserialize, serialize
from balsam.schemas.payloads import MadeElsewhere
from balsam.schemas.serializers import serializer_info

MAX_DEPTH = 40
_FLAT = frozenset({type(None), bool, int, float, str})  # what nobody can change in place
LARGE_FLOAT = 1e16
ANY_NAME = "**"  # in the parameters that `of_signature` finds: run() takes whatever it is given


class ParameterError(TypeError, ValueError):
    """Parameters that the app does not take, or that it needs and were not given."""


def fields_of(parameters: Mapping[str, Any], workdir: object) -> dict[str, Any]:
    """The fields of a job that carry its parameters; ValueError when they are too large to be sent."""
    plain = as_json(parameters)
    payload = serialize(dict(parameters)) if plain is None else _pickled(plain)
    if len(payload) > MAX_PAYLOAD_CHARS:
        raise ParameterError(
            f"the parameters of job {str(workdir)!r} take {len(payload):,} characters when serialized, and "
            f"the limit is {MAX_PAYLOAD_CHARS:,}: put large values into a file and give its path"
        )
    return {"serialized_parameters": payload, "parameters_json": plain, "serializer": serializer_info()}


def read(
    parameters_json: dict[str, Any] | None, serialized: str, serializer: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The parameters of a job's fields; the JSON is preferred, for it opens everywhere.

    Raises ParameterError for code that only another Python can run; `serializer`: what made them.
    """
    if parameters_json is not None:
        return parameters_json
    try:
        content: dict[str, Any] = deserialize(serialized, serializer) if serialized else {}
    except MadeElsewhere as exc:
        raise ParameterError(
            f"the job's parameters can't be used here: {exc}. Submit the job with Python {exc.here.python}, "
            f"without functions or classes of your own among its parameters, or let the app's python_exe be "
            f"an interpreter of Python {exc.made.python}"
        ) from exc
    return content


def as_json(parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """A copy of the values if JSON carries them there and back unchanged, else None."""
    values = dict(parameters)
    if not _is_json(values, 0):
        return None
    return values if _FLAT.issuperset(map(type, values.values())) else orjson.loads(orjson.dumps(values))


def check(app: str, given: Mapping[str, Any], known: Mapping[str, AppParameter]) -> None:
    """Raises ParameterError that names what is missing, what is unknown, and what the app takes."""
    missing = [name for name, spec in known.items() if spec.required and name not in given]
    surplus = [] if ANY_NAME in known else [name for name in given if name not in known]
    if not missing and not surplus:
        return
    faults = []
    if missing:
        faults.append(f"needs {', '.join(map(repr, missing))}")
    if surplus:
        faults.append(f"does not take {', '.join(map(repr, surplus))}")
    raise ParameterError(f"{app} {' and '.join(faults)}; its parameters are: {_told(known)}")


def _told(known: Mapping[str, AppParameter]) -> str:
    return (
        ", ".join(
            name if spec.required else f"{name} (default {spec.default})" for name, spec in known.items()
        )
        or "none"
    )


def _pickled(values: dict[str, Any]) -> str:
    return base64.b64encode(pickle.dumps(values, protocol=4)).decode("ascii")


def _is_json(value: Any, depth: int) -> bool:
    kind = type(value)
    if value is None or kind is bool:
        return True
    if isinstance(value, str) and kind is str:
        return value.isprintable() or _is_storable(value)
    if kind is int:
        return bool(-MAX_ID <= value <= MAX_ID)
    if kind is float:
        # PostgreSQL gives large ones back as integers, and zero without its sign.
        return abs(value) < LARGE_FLOAT and (value != 0 or math.copysign(1, value) > 0)
    if depth > MAX_DEPTH:
        return False
    if kind is list:
        return all(_is_json(inner, depth + 1) for inner in value)
    if kind is dict:
        # A loop, since generators take longer than most parameters.
        for key, inner in value.items():
            if type(key) is not str or not _is_json(key, 0) or not _is_json(inner, depth + 1):
                return False
        return True
    return False


def _is_storable(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text)
