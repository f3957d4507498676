"""Python objects as text: parameters, return values, exceptions and app classes by cloudpickle.

The server stores these texts and never opens them. Payloads of the published client, which dill wrote, are
read as well; what is written here opens there, too.
"""

from __future__ import annotations

import base64
import inspect
import io
import pickle
import pickletools
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from balsam.schemas.serializers import (
    BY_VALUE,
    NAMES_SOMETHING,
    Maker,
    here,
    holds_code,
    maker_of,
    runs_code_of,
    signed,
)

if TYPE_CHECKING:
    from balsam.schemas.reading import UserModules

PUBLISHED_MARKS = (b"dill._dill", b"balsam._api", b"balsam.schemas.", b"tblib")


class SerializeError(ValueError):
    """An object that can't be sent."""


class DeserializeError(ValueError):
    """A payload that can't be opened here."""


class MadeElsewhere(DeserializeError):
    """A payload with code that only another interpreter or serializer can run."""

    def __init__(self, made: Maker) -> None:
        self.made = made
        self.here = here()
        super().__init__(f"it holds code made with {made}, and this is {self.here}")


class EmptyPayload(ValueError):
    """There is no payload."""


class RemoteTraceback(Exception):
    """The traceback of an exception as it was on the other machine; the cause of what is raised here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


def serialize(obj: Any) -> str:
    """Base64 text of the pickled object; raises SerializeError with the object's type."""
    return _text(signed(_pickled(obj)))


def deserialize(payload: str, serializer: Mapping[str, str] | None = None) -> Any:
    """The object of `serialize`; raises EmptyPayload, or DeserializeError with the reason.

    Classes and functions that this program has under their names, or can import, are those.
    `serializer`: the record of what made it, for one that does not tell itself. MadeElsewhere is raised
    before code of another Python can be run.
    """
    raw, made = _raw_and_maker(payload, serializer)
    return _opened(raw, made)


def deserialize_class(
    payload: str, serializer: Mapping[str, str] | None = None, modules: UserModules | None = None
) -> Any:
    """An app's class as it was sent, whatever this program has under its name; errors as of `deserialize`.

    `modules`: where the user's modules are made, so that they can be imported.
    """
    raw, made = _raw_and_maker(payload, serializer)
    return _opened(raw, made, lambda raw: _as_sent(raw, modules))


def _raw_and_maker(payload: str, serializer: Mapping[str, str] | None) -> tuple[bytes, Maker | None]:
    if not payload:
        raise EmptyPayload("the payload is empty")
    raw = _raw(payload)
    return raw, maker_of(raw) or (Maker.of_record(serializer) if serializer else None)


def describe_exception(exc: BaseException) -> str:
    """`ValueError: what it says`, whatever the exception's own `__str__` does."""
    try:
        said = str(exc)
    except Exception:  # user code
        said = ""
    return f"{type(exc).__name__}: {said}" if said else type(exc).__name__


def serialize_exception(exc: BaseException) -> str:
    """Base64 text of the exception, then of its description and its traceback as text.

    Two pickles follow each other: the published client opens the first, and the second can be read where
    the class of the exception can't be loaded.
    """
    told = describe_exception(exc)
    texts = _pickled((told, "".join(traceback.format_exception(exc))))
    return _text(signed(_openable(exc, told) + texts))


def raise_from_serialized(payload: str, subject: str = "") -> NoReturn:
    """Raises the exception of `serialize_exception`, with the remote traceback as its cause.

    RuntimeError stands for an exception that can't be loaded here, and for what is no Exception
    (SystemExit, KeyboardInterrupt): that would end the caller. `subject`: who raised it.
    """
    if not payload:
        raise EmptyPayload("the payload is empty")
    exc, told, text = _exception_of(_raw(payload))
    remote = RemoteTraceback(text) if text else None
    if not isinstance(exc, Exception):
        raise RuntimeError(f"{subject}: {told}" if subject else told) from remote
    if exc.__cause__ is None:
        raise exc from remote
    _first_cause(exc).__cause__ = remote
    raise exc


def _first_cause(exc: BaseException) -> BaseException:
    """The end of its chain of causes."""
    seen = {id(exc)}
    while exc.__cause__ is not None and id(exc.__cause__) not in seen:
        exc = exc.__cause__
        seen.add(id(exc))
    return exc


def _openable(exc: BaseException, told: str) -> bytes:
    """The pickle of the exception and no traceback, or of what is left of it if that would not come back."""
    from balsam.schemas.exceptions import without_what_fails

    if (raw := _returning(exc)) is None:
        without_what_fails(exc, lambda value: _returning(value) is not None)
        raw = _returning(exc)
    return _pickled((RuntimeError(told), None)) if raw is None else raw


def _returning(value: Any) -> bytes | None:
    """The pickle of a value and None, if that opens again as a value of its class."""
    try:
        raw = _pickled((value, None))
        return raw if isinstance(_opened(raw)[0], type(value)) else None
    except (SerializeError, DeserializeError):
        return None


def _exception_of(raw: bytes) -> tuple[BaseException | None, str, str]:
    """Exception, description and traceback of a payload in any form that was ever written."""
    first, second = _split(raw)
    if not second.startswith(pickle.PROTO):
        return _described(_opened(first))
    told, text = _opened(second)
    try:
        return _opened(first, maker_of(raw))[0], told, text
    except DeserializeError:
        return None, told, text


def _described(content: Any) -> tuple[BaseException | None, str, str]:
    """The same of a payload that is one pickle."""
    match content:
        case (str(payload), str(told), str(text)):
            try:
                return deserialize(payload), told, text
            except DeserializeError:
                return None, told, text
        case (BaseException() as exc, trace):
            return exc, describe_exception(exc), _trace_text(exc, trace)
        case BaseException() as exc:
            return exc, describe_exception(exc), ""
    raise DeserializeError(f"the payload holds a {type(content).__name__}, not an exception")


def _trace_text(exc: BaseException, trace: Any) -> str:
    if trace is None or isinstance(trace, str):
        return trace or ""
    from balsam.schemas import published_payloads

    return published_payloads.traceback_text(exc, trace)


def _split(raw: bytes) -> tuple[bytes, bytes]:
    """The first pickle and what follows it."""
    stream = io.BytesIO(raw)
    try:
        for _ in pickletools.genops(stream):
            pass
    except ValueError as exc:
        raise DeserializeError(f"the payload is no pickle: {exc}") from exc
    return raw[: stream.tell()], raw[stream.tell() :]


def _pickled(obj: Any) -> bytes:
    try:
        raw = pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)
        if NAMES_SOMETHING not in raw:
            return raw  # numbers and texts, in lists and the like: what most results are
    except Exception:  # cloudpickle can do more, or tells what is wrong
        pass
    from balsam.schemas import portable  # with cloudpickle, which few processes need

    try:
        raw = portable.dumps(obj)
        return portable.dumps(portable.Prepared(obj)) if BY_VALUE in raw else raw
    except Exception as exc:  # whatever the object's own __reduce__ raises
        raise SerializeError(f"can't serialize a {type(obj).__name__}: {exc}") from exc


def _opened(raw: bytes, made: Maker | None = None, load: Callable[[bytes], Any] | None = None) -> Any:
    if made is not None and holds_code(raw) and not runs_code_of(here(), made):
        raise MadeElsewhere(made)
    try:
        if not any(mark in raw for mark in PUBLISHED_MARKS):
            return (load or _as_known_here)(raw)
        from balsam.schemas import published_payloads  # with dill

        return published_payloads.loads(raw)
    except Exception as exc:  # unpickling runs code of the payload's author
        told = f", which was made with {made}," if made else ""
        raise DeserializeError(f"can't open the payload{told} with {here()}: {exc!r}") from exc


def _as_known_here(raw: bytes) -> Any:
    """The object, of the classes that this program knows."""
    if BY_VALUE not in raw:
        return pickle.loads(raw)
    from balsam.schemas.reading import Reader  # with cloudpickle

    return Reader(raw).load()


def _as_sent(raw: bytes, modules: UserModules | None) -> Any:
    if modules is None:
        return pickle.loads(raw)
    from balsam.schemas.reading import Reader

    return Reader(raw, modules).load()


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _raw(payload: str) -> bytes:
    try:
        return base64.b64decode(payload)
    except ValueError as exc:
        raise DeserializeError(f"the payload is no base64 text: {exc}") from exc


def get_source(obj: Any) -> str:
    """The source code of a class or function, or a line that says why there is none."""
    try:
        return inspect.getsource(obj)
    except (OSError, TypeError) as exc:
        return f"# source code not available: {exc}\n"
