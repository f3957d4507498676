"""Exceptions as text: what comes back of them, whatever they are."""

from __future__ import annotations

import base64
import importlib.metadata as packages
import threading
from typing import Any

import cloudpickle
import orjson
import pytest

from balsam.api import Job, JobState, TransferDirection, TransferSlot
from balsam.schemas import (
    DeserializeError,
    deserialize,
    raise_from_serialized,
    serialize,
    serialize_exception,
)
from balsam.schemas.payloads import RemoteTraceback
from balsam.schemas.serializers import Maker, here, runs_code_of, serializer_info


class Custom(Exception):
    """Its pickle does not open: it hands one argument to Exception and needs two."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"{what} {number}")


class Mute(Exception):
    def __str__(self) -> str:
        raise KeyError("no text")


class Stubborn(Exception):
    """Its pickle does not open anywhere."""

    def __str__(self) -> str:
        return "no way"

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no number",)


class Rising(Exception):
    """Its pickle is opened by code that may not be there, or fails."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, ()


is_elsewhere = False


def _open() -> Rising:
    if is_elsewhere:
        raise ModuleNotFoundError("no module named 'users_own'")
    return Rising()


def raised(exc: BaseException) -> BaseException:
    """What the client's side raises for an exception of a worker."""
    try:
        raise exc
    except BaseException as caught:
        payload = serialize_exception(caught)
    with pytest.raises(BaseException) as told:
        raise_from_serialized(payload, "job 7")
    return told.value


def test_an_exception_comes_back_as_it_is() -> None:
    exc = raised(ZeroDivisionError("by zero"))
    assert type(exc) is ZeroDivisionError and exc.args == ("by zero",)
    assert isinstance(exc.__cause__, RemoteTraceback)
    assert "in raised" in exc.__cause__.text


@pytest.mark.parametrize(
    ("exc", "told"), [(SystemExit(4), "SystemExit: 4"), (KeyboardInterrupt(), "KeyboardInterrupt")]
)
def test_what_would_end_the_caller_becomes_an_ordinary_error(exc: BaseException, told: str) -> None:
    error = raised(exc)
    assert type(error) is RuntimeError and str(error) == f"job 7: {told}"
    assert told in str(error.__cause__)


def test_an_exception_with_an_odd_constructor_comes_back_as_it_is() -> None:
    exc = raised(Custom("cust", 1))
    assert type(exc) is Custom and str(exc) == "cust 1"


def test_an_exception_that_would_not_open_keeps_its_text() -> None:
    error = raised(Stubborn())
    assert type(error) is RuntimeError and str(error) == "Stubborn: no way"


def test_an_exception_that_can_not_say_itself_comes_back() -> None:
    assert type(raised(Mute())) is Mute


def test_what_can_not_be_sent_of_an_exception_is_left_out_and_told() -> None:
    exc = ValueError("holds a lock")
    exc.lock, exc.step = threading.Lock(), 3  # type: ignore[attr-defined]
    told = raised(exc)
    assert type(told) is ValueError and str(told) == "holds a lock"
    assert vars(told)["step"] == 3 and not hasattr(told, "lock")
    assert told.__notes__ == ["its attribute lock, a lock, could not be sent"]


def test_an_exception_that_opens_only_there_is_told_by_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = serialize_exception(Rising("up"))
    monkeypatch.setitem(globals(), "is_elsewhere", True)
    with pytest.raises(RuntimeError, match=r"^job 7: Rising: up$") as caught:
        raise_from_serialized(payload, "job 7")
    assert "Rising: up" in str(caught.value.__cause__)


@pytest.mark.parametrize("content", [(ValueError("old"), "traceback"), ValueError("old")])
def test_payloads_of_older_forms_are_read(content: object) -> None:
    payload = base64.b64encode(cloudpickle.dumps(content)).decode()
    with pytest.raises(ValueError, match=r"^old$"):
        raise_from_serialized(payload)


def test_the_published_client_finds_the_exception_in_the_first_pickle() -> None:
    exc, trace = deserialize(serialize_exception(ValueError("x")))
    assert isinstance(exc, ValueError) and trace is None


def test_public_classes_are_named_as_users_import_them() -> None:
    slot = TransferSlot(required=True, direction=TransferDirection.stage_in, local_path="a")
    sent = {"job": Job, "state": JobState.failed, "slot": slot}
    payload = serialize(sent)
    assert deserialize(payload) == sent
    assert b"balsam.sdk" not in base64.b64decode(payload) and b"balsam.core" not in base64.b64decode(payload)


def made_with(python: str, payload: str) -> str:
    """The payload as that Python would have signed it."""
    own = orjson.dumps(serializer_info()["python"])
    raw = base64.b64decode(payload).replace(b'"python":' + own, b'"python":' + orjson.dumps(python))
    return base64.b64encode(raw).decode()


def test_code_of_another_python_is_refused_with_both_named() -> None:
    own = serializer_info()["python"]
    payload = made_with("3.1", serialize(lambda: 1))
    with pytest.raises(DeserializeError, match=rf"Python 3\.1 and cloudpickle .*this is Python {own} "):
        deserialize(payload)


def test_values_without_code_open_whatever_python_has_made_them() -> None:
    assert deserialize(made_with("3.1", serialize({"a": {1, 2}}))) == {"a": {1, 2}}


def test_a_value_that_does_not_open_names_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = made_with("3.1", serialize(packages.PackagePath("a")))
    monkeypatch.delattr(packages, "PackagePath")
    with pytest.raises(
        DeserializeError, match=r"made with Python 3\.1 and .* with Python 3\.\d\d.*PackagePath"
    ):
        deserialize(payload)


def test_an_exception_with_code_of_another_python_is_told_by_its_text() -> None:
    class Own(Exception):
        def __str__(self) -> str:
            return "in my own words"

    with pytest.raises(RuntimeError, match=r"^job 7: Own: in my own words$"):
        raise_from_serialized(made_with("3.1", serialize_exception(Own())), "job 7")


@pytest.mark.parametrize(
    ("record", "opens"),
    [
        ({}, True),
        ({"python": "3.1"}, False),
        ({"version": f"{serializer_info()['version'].partition('.')[0]}.0"}, True),
        ({"version": "1.6"}, False),
        ({"name": "marshal"}, False),
    ],
)
def test_code_opens_for_the_same_python_and_the_same_series_of_the_serializer(
    record: dict[str, str], opens: bool
) -> None:
    made = Maker.of_record(serializer_info() | record)
    assert runs_code_of(here(), made) is opens


def test_the_record_beside_a_payload_counts_where_it_does_not_tell_itself() -> None:
    unsigned = base64.b64encode(cloudpickle.dumps(lambda: 1)).decode()
    assert deserialize(unsigned, serializer_info())() == 1
    with pytest.raises(DeserializeError, match=r"Python 3\.1 "):
        deserialize(unsigned, serializer_info() | {"python": "3.1"})
