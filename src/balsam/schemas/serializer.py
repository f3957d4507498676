"""The name under which scripts for Balsam 0.7 import `balsam.schemas.payloads`."""

from balsam.schemas.payloads import (
    DeserializeError,
    EmptyPayload,
    SerializeError,
    deserialize,
    get_source,
    raise_from_serialized,
    serialize,
    serialize_exception,
)

__all__ = [
    "DeserializeError",
    "EmptyPayload",
    "SerializeError",
    "deserialize",
    "get_source",
    "raise_from_serialized",
    "serialize",
    "serialize_exception",
]
