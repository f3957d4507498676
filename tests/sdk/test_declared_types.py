"""Text as values of the types that a run() declares: it stays as it was typed unless they say otherwise."""

from __future__ import annotations

import enum
import math
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Optional, Union

import pytest

from balsam.sdk import declared_types
from balsam.sdk.declared_types import NotOfType, undeclared, value_of

Version = NewType("Version", str)


class Colour(enum.Enum):
    red = "#f00"
    one = 1


@pytest.mark.parametrize(
    "text", ["1.10", "007", "1e3", "null", "None", "true", "[1]", '"x"', "", "NaN", "0x10"]
)
@pytest.mark.parametrize(
    "kind",
    [
        *(
            str,
            str | None,
            Optional[str],  # noqa: UP045
            Union[str, int],  # noqa: UP007
            int | str,
            Annotated[str, "unit"],
            Version,
            object,
        ),
        *("str", "Optional[str]", "typing.Optional[str]", "Annotated[str, 'x'] | None"),
    ],
)
def test_text_stays_as_it_was_typed(text: str, kind: Any) -> None:
    if isinstance(kind, str):
        kind = declared_types.of_run(_declaring(kind))["x"]
    assert value_of(text, kind) == text


def _declaring(annotation: str) -> Any:
    def run(self: Any, x: Any) -> None: ...

    run.__annotations__["x"] = annotation
    return run


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("3", int, 3),
        ("-1_000", int, -1000),
        ("3", float, 3.0),
        ("1.10", float, 1.1),
        ("inf", float, math.inf),
        ("true", bool, True),
        ("No", bool, False),
        ("null", int | None, None),
        ("5", Optional[int], 5),  # noqa: UP045
        ("5", int | float, 5),
        ("5.5", float | int, 5.5),
        ("1.10", Literal["1.1", "1.10"], "1.10"),
        ("2", Literal["1", 2], 2),
        ("red", Colour, Colour.red),
        ("#f00", Colour, Colour.red),
        ("1", Colour, Colour.one),
        ("a/b", Path, Path("a/b")),
        ("1.10", Decimal, Decimal("1.10")),
        ("2026-01-31T12:00", datetime, datetime(2026, 1, 31, 12)),
        ('["1.10", "a"]', list[str], ["1.10", "a"]),
        ("[1, 2]", list[int], [1, 2]),
        ("[1, 2]", list[float], [1.0, 2.0]),
        ("[1, 2]", tuple[int, int], (1, 2)),
        ("[1, 2, 2]", set[int], {1, 2}),
        ("[1, 2]", list, [1, 2]),
        ('["a/b"]', list[Path], [Path("a/b")]),
        ('{"a": 1}', dict[str, float], {"a": 1.0}),
        ('{"1": "x"}', dict[int, str], {1: "x"}),
        ("[[1], []]", list[list[int]], [[1], []]),
        ('["a", null]', list[str | None], ["a", None]),
        ("3", Any, 3),
        ("1.10", Any, "1.10"),
        ("1.5", Any, 1.5),
        ("b'x'", bytes, b"b'x'"),
    ],
)
def test_text_is_a_value_of_the_declared_type(text: str, kind: Any, value: object) -> None:
    got = value_of(text, kind)
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *[(text, int) for text in ("abc", "", "1.0", "1e3", "nan", "true", "1 2", "null")],
        *[
            ("abc", kind)
            for kind in (float, bool, int | None, int | float, list[int], dict[str, int], Decimal)
        ],
        *[("abc", kind) for kind in (Colour, Literal["a", 1], datetime, Annotated[int, "x"], type(None))],
        ("[1.10]", list[str]),
        ('["a"]', list[int]),
        ("[1.5]", list[int]),
        ("[1]", tuple[int, int]),
        ("{}", list[int]),
        ("[]", dict[str, int]),
    ],
)
def test_what_is_of_another_type_is_refused(text: str, kind: Any) -> None:
    with pytest.raises(NotOfType, match=r"."):
        value_of(text, kind)


def test_what_is_not_declared_is_as_the_default_or_as_json_says() -> None:
    def run(self: Any, a, b="1.0", c=1, d=1.5, e=None, *, f: Unknown = 3, **rest: int) -> None: ...  # type: ignore # noqa

    assert declared_types.of_run(run) == {
        "self": Any,
        "a": Any,
        "b": str,
        "c": int,
        "d": float,
        "e": Any,
        "f": Any,
    }
    assert [undeclared(text) for text in ("3", "1.5", "1.50", "01", "1e5", "true", '"3"', "x")] == [
        *(3, 1.5, "1.50", "01", "1e5", True, "3", "x")
    ]


def test_a_text_where_a_number_is_declared_is_refused_by_name() -> None:
    def run(self: Any, n: int, x: "float | None" = None, s: str = "", u=1) -> None: ...  # type: ignore # noqa

    declared_types.check(run, {"n": 5, "x": None, "s": "abc", "u": "abc"})
    declared_types.check(run, {"n": "5", "x": "1.5"})
    for given in ({"n": "abc"}, {"n": ""}, {"x": "abc"}, {"n": "1.5"}):
        with pytest.raises(NotOfType, match=f"'{next(iter(given))}'"):
            declared_types.check(run, given)
