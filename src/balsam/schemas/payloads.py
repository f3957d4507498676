"""Python objects as text: parameters, return values, exceptions and app classes by cloudpickle.

The server stores these texts and never opens them. Payloads of the published client were written by dill
and are read back with it where it is installed.
"""

from __future__ import annotations

import base64
import inspect
import pickle
import sys
import traceback
from typing import Any, NoReturn


class SerializeError(ValueError):
    """An object that can't be sent."""


class DeserializeError(ValueError):
    """A payload that can't be opened here."""


class EmptyPayload(ValueError):
    """There is no payload."""


class RemoteTraceback(Exception):
    """The traceback of an exception as it was on the other machine; the cause of what is raised here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


def serializer_info() -> dict[str, str]:
    """Name, version and Python of what this process serializes with."""
    import cloudpickle

    return {
        "name": "cloudpickle",
        "version": str(cloudpickle.__version__),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }


def serialize(obj: Any) -> str:
    """Base64 text of the pickled object; raises SerializeError with the object's type."""
    import cloudpickle

    try:
        return base64.b64encode(cloudpickle.dumps(obj)).decode("ascii")
    except Exception as exc:  # whatever the object's own __reduce__ raises
        raise SerializeError(f"can't serialize a {type(obj).__name__}: {exc}") from exc


def deserialize(payload: str) -> Any:
    """The object of `serialize`; raises EmptyPayload, or DeserializeError with the reason."""
    if not payload:
        raise EmptyPayload("the payload is empty")
    try:
        return pickle.loads(base64.b64decode(payload))
    except Exception as exc:  # unpickling runs code of the payload's author
        raise DeserializeError(
            f"can't open the payload with Python {sys.version_info.major}.{sys.version_info.minor}: {exc!r}"
        ) from exc


def describe_exception(exc: BaseException) -> str:
    """`ValueError: what it says`, whatever the exception's own `__str__` does."""
    try:
        said = str(exc)
    except Exception:  # user code
        said = ""
    return f"{type(exc).__name__}: {said}" if said else type(exc).__name__


def serialize_exception(exc: BaseException) -> str:
    """Base64 text of the exception, its description and its traceback as text.

    The exception is pickled on its own, so that the texts can be read where its class can't be loaded.
    """
    told = describe_exception(exc)
    return serialize((_openable(exc, told), told, "".join(traceback.format_exception(exc))))


def raise_from_serialized(payload: str, subject: str = "") -> NoReturn:
    """Raises the exception of `serialize_exception`, with the remote traceback as its cause.

    RuntimeError stands for an exception that can't be loaded here, and for what is no Exception
    (SystemExit, KeyboardInterrupt): that would end the caller. `subject`: who raised it.
    """
    exc, told, text = _opened(deserialize(payload))
    cause = RemoteTraceback(text) if text else None
    if isinstance(exc, Exception):
        raise exc from cause
    raise RuntimeError(f"{subject}: {told}" if subject else told) from cause


def _openable(exc: BaseException, told: str) -> str:
    """The payload of the exception, or of a RuntimeError where that would not come back."""
    try:
        payload = serialize(exc)
        if isinstance(deserialize(payload), BaseException):
            return payload
    except (SerializeError, DeserializeError):
        pass  # e.g. a constructor that takes other arguments than it hands to Exception
    return serialize(RuntimeError(told))


def _opened(content: Any) -> tuple[BaseException | None, str, str]:
    """Exception, description and traceback of a payload's content, in any form that was ever written."""
    match content:
        case (str(payload), str(told), str(text)):
            try:
                return deserialize(payload), told, text
            except DeserializeError:
                return None, told, text
        case (BaseException() as exc, str(text)):
            return exc, describe_exception(exc), text
        case BaseException() as exc:
            return exc, describe_exception(exc), ""
    raise DeserializeError(f"the payload holds a {type(content).__name__}, not an exception")


def get_source(obj: Any) -> str:
    """The source code of a class or function, or a line that says why there is none."""
    try:
        return inspect.getsource(obj)
    except (OSError, TypeError) as exc:
        return f"# source code not available: {exc}\n"
