"""What a query matches as columns, without an object for each row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import orjson

from balsam.core.clock import UtcDatetime, to_us
from balsam.sdk.fields import PATH, PLAIN, READ, TIME, Field
from balsam.sdk.spelling import reject_unknown

if TYPE_CHECKING:
    from balsam.sdk.model import Model

RawColumns = dict[str, list[Any]]  # as the wire has them; times are microseconds since 1970


def column_names(model: type[Model], names: Iterable[str]) -> list[str]:
    """The names asked for, else those of all fields that can be read but for serialized payloads."""
    known = [
        name for name, field in model.FIELDS.items() if field.use & READ and not name.startswith("serialize")
    ]
    asked = list(dict.fromkeys(names))
    reject_unknown(f"columns of {model.__name__}", asked, known)
    return asked or known


def of_rows(model: type[Model], rows: Iterable[Mapping[str, Any]], names: list[str]) -> RawColumns:
    """Columns of rows, of kinds of which nobody has many."""
    columns: RawColumns = {name: [] for name in names}
    for row in rows:
        for name, column in columns.items():
            value = row[name]
            if _is_time(model, name) and value is not None:
                value = to_us(UtcDatetime.parse(value))
            column.append(value)
    return columns


def joined(pages: Iterable[RawColumns], names: list[str]) -> RawColumns:
    """Pages one after the other."""
    columns: RawColumns = {name: [] for name in names}
    for page in pages:
        for name, column in columns.items():
            column += page[name]
    return columns


def as_lists(model: type[Model], raw: RawColumns) -> RawColumns:
    """Times as aware datetimes."""
    return {name: _datetimes(values) if _is_time(model, name) else values for name, values in raw.items()}


def as_pandas(model: type[Model], raw: RawColumns) -> Any:
    """Times are datetime64[us, UTC]; whole numbers some of which are missing are Int64."""
    pandas = _installed("pandas", "to_pandas")
    return pandas.DataFrame({name: _series(pandas, model, name, raw[name]) for name in raw})


def as_polars(model: type[Model], raw: RawColumns) -> Any:
    """Times are Datetime("us", "UTC"); dicts and lists are JSON text, which `str.json_decode` reads."""
    polars = _installed("polars", "to_polars")
    made = []
    for name, values in raw.items():
        if _is_time(model, name):
            made.append(polars.Series(name, values, polars.Int64).cast(polars.Datetime("us", "UTC")))
        else:
            made.append(polars.Series(name, _flat(model, name, values)))
    return polars.DataFrame(made)


def as_arrow(model: type[Model], raw: RawColumns) -> Any:
    """Times are timestamp("us", "UTC"); dicts and lists are JSON text."""
    arrow = _installed("pyarrow", "to_arrow")
    made = {}
    for name, values in raw.items():
        if _is_time(model, name):
            made[name] = arrow.array(values, arrow.timestamp("us", "UTC"))
        else:
            made[name] = arrow.array(_flat(model, name, values))
    return arrow.table(made)


def _installed(package: str, method: str) -> Any:
    try:
        return import_module(package)
    except ModuleNotFoundError as exc:
        if exc.name != package:
            raise
        raise ImportError(
            f"{method}() needs the package {package}, which is not installed: pip install {package}"
        ) from None


def _is_time(model: type[Model], name: str) -> bool:
    return model.FIELDS[name].kind is TIME


def _is_nested(field: Field) -> bool:
    return field.kind not in (PLAIN, PATH, TIME) and not isinstance(field.kind.to_python, type)


def _flat(model: type[Model], name: str, values: list[Any]) -> list[Any]:
    """The values, or the JSON text of what is nested, for it differs from row to row."""
    if _is_nested(model.FIELDS[name]):
        return [None if value is None else orjson.dumps(value).decode() for value in values]
    return values


def _series(pandas: Any, model: type[Model], name: str, values: list[Any]) -> Any:
    if _is_time(model, name):
        return pandas.to_datetime(pandas.Series(values, dtype="Int64"), unit="us", utc=True).dt.as_unit("us")
    if None in values and all(value is None or type(value) is int for value in values):
        return pandas.Series(values, dtype="Int64")
    return pandas.Series(values, dtype=None if values else object)


def _datetimes(times: list[int | None]) -> list[UtcDatetime | None]:
    """Made in ascending order, which is several times as fast, and put back in theirs."""
    known = [place for place, us in enumerate(times) if us is not None]
    known.sort(key=times.__getitem__)  # type: ignore[arg-type]
    made = UtcDatetime.each_of_us([times[place] for place in known])  # type: ignore[misc]
    columns: list[UtcDatetime | None] = [None] * len(times)
    for place, moment in zip(known, made, strict=True):
        columns[place] = moment
    return columns
