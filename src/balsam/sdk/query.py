"""Lazy, chainable queries: nothing is asked of the server before rows are needed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast, overload

from balsam.client.errors import SomeRefused
from balsam.client.jobs import refusals
from balsam.core.limits import MAX_EXPLAINED, MAX_ITEMS_PER_BULK_OP
from balsam.sdk import columns
from balsam.sdk.context import default_client
from balsam.sdk.filters import Filter, both
from balsam.sdk.model import DoesNotExist, Model, MultipleObjectsReturned, update_body
from balsam.sdk.spelling import in_places, reject_unknown, unknown

if TYPE_CHECKING:
    from balsam.client.transport import Client

M = TypeVar("M", bound=Model)
Q = TypeVar("Q", bound="Query[Any]")

IDS_PER_REQUEST = 500  # ids in one URL


# Said where all objects are to be changed or deleted: the server refuses that to whoever gives no filter and
# does not say this either.
EVERYTHING = {"all": "yes"}


class Sliced(ValueError, AttributeError):
    """A query can't be narrowed or ordered after it was sliced; an AttributeError, too, as in release 0.7."""


@dataclass(frozen=True, slots=True)
class BoundedCount:
    """`str()`: `1,234`, or `more than 100,000` where the number is only as far as was counted."""

    number: int
    is_exact: bool

    def __str__(self) -> str:
        return f"{self.number:,}" if self.is_exact else f"more than {self.number:,}"


class Query(Generic[M]):
    """Objects of one kind that match filters, in an order, perhaps a slice of them.

    Iteration, `len()`, `bool()`, `[i]`, `[a:b]`, `[a:b:step]`. Rows that were fetched are kept; `all()`
    gives a fresh query. A filter with an empty list matches nothing; None, an empty text or an empty dict is
    refused: see `balsam.sdk.filters`.
    """

    POSITIONS: tuple[str, ...] = ()  # names of filters by their places, where values are given without names
    FILTERS: tuple[str, ...] = ()  # names of filters that take one value
    LIST_FILTERS: tuple[str, ...] = ()  # that take one value or several
    ENUM_FILTERS: Mapping[str, type[Enum]] = {}  # whose values are a state's, a direction's ...
    ORDERINGS: tuple[str, ...] = ()
    DEFAULT_ORDER = "id"
    UPDATE_BY_QUERY = False  # whether the server has PUT by filters
    DELETE_BY_QUERY = False  # whether it has DELETE by filters
    UPDATE_IN_BULK = False  # whether it has PATCH of many
    PAGE = 10_000  # rows asked for at a time
    COLUMNAR = False  # whether the server answers columns
    COLUMN_PAGE = 50_000  # rows of these

    def __init__(self, model: type[M], client: Client) -> None:
        self._model = model
        self._client = client
        self._filters: dict[str, Any] = {}
        self._order: str | None = None
        self._start = 0
        self._stop: int | None = None
        self._fetched: list[M] = []
        self._rest: Iterator[M] | None = None

    # ---- narrowing ----

    def all(self) -> Self:
        """The same query, with nothing fetched yet."""
        copy = type(self)(self._model, self._client)
        copy._filters, copy._order = self._filters, self._order
        copy._start, copy._stop = self._start, self._stop
        return copy

    def unfiltered(self) -> Self:
        """All objects, through the same client."""
        return type(self)(self._model, self._client)

    def narrowed(self, filters: Mapping[str, Any], values: Sequence[Any] = ()) -> Self:
        """The matches that also match `filters`, and `values` of the filters in their places.

        TypeError for a name that is no filter, and for a value that chooses nothing.
        """
        self._must_be_whole("filter")
        given = {**self._in_places(values, filters), **filters}
        reject_unknown(self._what("filter"), given, (*self.FILTERS, *self.LIST_FILTERS))
        copy = self.all()
        chosen = dict(self._filters)
        for name, value in given.items():
            one = self._filter(name)
            read = one.read(self._with_ids(value))
            chosen[name] = both(one, chosen[name], read) if name in chosen else read
        copy._filters = chosen
        return copy

    def _in_places(self, values: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        placed = in_places(self._what("filter"), self.POSITIONS, values, named)
        # What stands before another's place is None where it is not meant to choose.
        return {name: value for name, value in placed.items() if value is not None or value is values[-1]}

    def _what(self, verb: str) -> str:
        return f"{self._model.__name__}.objects.{verb}()"

    def _filter(self, name: str) -> Filter:
        return Filter(self._model.__name__, name, name in self.LIST_FILTERS, self.ENUM_FILTERS.get(name))

    def _with_ids(self, value: Any) -> Any:
        """The same with what only this kind of query knows an id of in its place."""
        return value

    def ordered(self, field: str | None) -> Self:
        """In the order of a field; `-field`: descending; None: in the default order."""
        self._must_be_whole("order")
        copy = self.all()
        if field is None:
            copy._order = None
            return copy
        name = str(field.value if isinstance(field, Enum) else field)
        allowed = [sign + ordering for ordering in self.ORDERINGS for sign in ("", "-")]
        if name not in allowed:
            raise TypeError(unknown(f"{self._model.__name__} order_by()", name, allowed))
        copy._order = name
        return copy

    @property
    def is_sliced(self) -> bool:
        return self._start > 0 or self._stop is not None

    @property
    def filters(self) -> dict[str, Any]:
        """The filters, as they are sent."""
        return dict(self._filters)

    def client(self) -> Client:
        return self._client

    # ---- reading ----

    def count(self) -> int:
        """How many match; no rows are fetched."""
        if self.matches_nothing:
            return 0
        total = sum(
            int(self._client.get(self._model.ROUTE, {**filters, "limit": 0})["count"])
            for filters in self._requests()
        )
        stop = total if self._stop is None else min(total, self._stop)
        return max(0, stop - self._start)

    def bounded_count(self) -> BoundedCount:
        """How many match, up to 100,000 jobs or events: quick however many there are."""
        if self.matches_nothing:
            return BoundedCount(0, True)
        answers = [
            self._client.get(self._model.ROUTE, {**filters, "limit": 0, "count": "bounded"})
            for filters in self._requests()
        ]
        total = sum(int(answer["count"]) for answer in answers)
        is_exact = all(answer.get("count_is_exact", True) for answer in answers)
        if self._stop is not None and self._stop <= total:
            total, is_exact = self._stop, True
        return BoundedCount(max(0, total - self._start), is_exact)

    def first(self) -> M | None:
        """The first match, or None."""
        return next(iter(self[:1]), None)

    def the_one(self) -> M:
        """The only match; raises DoesNotExist or MultipleObjectsReturned, with the filters."""
        found = list(self[:2])
        if not found:
            raise DoesNotExist(f"no {self._model.__name__} matches {self._told()}")
        if len(found) > 1:
            raise MultipleObjectsReturned(f"more than one {self._model.__name__} matches {self._told()}")
        return found[0]

    def iterator(self) -> Iterator[M]:
        """All matches, page by page, without keeping those that were passed."""
        return (self._model.from_row(row, self._client) for row in self._rows())

    def __iter__(self) -> Iterator[M]:
        for position in itertools.count():
            if position == len(self._fetched) and not self._fetch_one():
                return
            yield self._fetched[position]

    def __len__(self) -> int:
        while self._fetch_one():
            pass
        return len(self._fetched)

    def __bool__(self) -> bool:
        return bool(self._fetched) or self.first() is not None

    @overload
    def __getitem__(self, key: int) -> M: ...
    @overload
    def __getitem__(self, key: slice) -> Self: ...
    def __getitem__(self, key: int | slice) -> M | Self:
        if isinstance(key, int):
            assert key >= 0, "a query has no negative indices; reverse it with order_by()"
            if key < len(self._fetched):
                return self._fetched[key]
            found = list(self._slice(key, key + 1))
            if not found:
                raise IndexError(f"the query has no item {key}")
            return found[0]
        start, stop = key.start or 0, key.stop
        assert start >= 0 and (stop is None or stop >= 0), "a query has no negative indices"
        part = self._slice(start, stop)
        # With a step it is a plain list, as published; a type checker can't tell the two slices apart.
        return part if key.step is None else cast(Self, list(part)[:: key.step])

    # ---- reading as columns ----

    def to_columns(self, *names: str) -> dict[str, list[Any]]:
        """A list for each field, in the order of the query; without names all fields but serialized payloads.

        Many times as fast as objects. Times are aware datetimes; states, modes and paths are plain str; tags
        and data are dicts, parent_ids lists of int; None is what has no value.
        """
        return columns.as_lists(self._model, self._raw_columns(names))

    def to_pandas(self, *names: str) -> Any:
        """The same as a pandas.DataFrame; times are datetime64[us, UTC]. ImportError without pandas."""
        return columns.as_pandas(self._model, self._raw_columns(names))

    def to_polars(self, *names: str) -> Any:
        """The same as a polars.DataFrame; what is nested becomes JSON text. ImportError without polars."""
        return columns.as_polars(self._model, self._raw_columns(names))

    def to_arrow(self, *names: str) -> Any:
        """The same as a pyarrow.Table; what is nested becomes JSON text. ImportError without pyarrow."""
        return columns.as_arrow(self._model, self._raw_columns(names))

    def _raw_columns(self, names: Iterable[str]) -> columns.RawColumns:
        wanted = columns.column_names(self._model, names)
        requests = [] if self.matches_nothing else self._requests()
        if len(requests) > 1 or not self.COLUMNAR:
            return columns.of_rows(self._model, self._rows(), wanted)
        return columns.joined(
            (page for filters in requests for page in self._column_pages(filters, wanted)), wanted
        )

    def _column_pages(self, filters: dict[str, Any], names: list[str]) -> Iterator[columns.RawColumns]:
        rest = None if self._stop is None else self._stop - self._start
        window: dict[str, Any] = {"offset": self._start}
        while rest is None or rest > 0:
            limit = self.COLUMN_PAGE if rest is None else min(rest, self.COLUMN_PAGE)
            page = self._page(filters, columns=names, limit=limit, **window)
            yield page["columns"]
            window = {"after": page["next"]}
            if page["next"] is None:
                return
            rest = None if rest is None else rest - limit

    # ---- writing ----

    def change(self, values: Mapping[str, Any]) -> int:
        """Updates all matches; the number of objects updated."""
        body = update_body(self._model, values)
        if self.matches_nothing or not body:
            return 0
        if self.UPDATE_BY_QUERY:
            return sum(
                int(self._client.put(self._model.ROUTE, body, params=filters))
                for filters in self._requests_of_slice()
            )
        if self.UPDATE_IN_BULK:
            return self._patch_all(body)
        raise NotImplementedError(
            f"many {self._model.__name__} objects can't be updated at once: save() them one by one"
        )

    def delete(self) -> None:
        """Deletes all matches."""
        if not self.DELETE_BY_QUERY:
            raise NotImplementedError(
                f"many {self._model.__name__} objects can't be deleted at once: delete() them one by one"
            )
        if self.matches_nothing:
            return
        for filters in self._requests_of_slice():
            self._client.delete(self._model.ROUTE, filters)

    def __repr__(self) -> str:
        part = f"[{self._start}:{'' if self._stop is None else self._stop}]" if self.is_sliced else ""
        return f"<{type(self).__name__} {self._told()}{part}>"

    def _repr_html_(self) -> str:
        """The first matches as a table, for notebooks."""
        from balsam.sdk import notebook  # which nobody else needs

        return notebook.table(self)

    # ---- inside ----

    def _slice(self, start: int, stop: int | None) -> Self:
        part = self.all()
        part._start = self._start + start
        ends = [self._stop, None if stop is None else self._start + stop]
        part._stop = min((end for end in ends if end is not None), default=None)
        return part

    def _fetch_one(self) -> bool:
        if self._rest is None:
            self._rest = self.iterator()
        for item in self._rest:
            self._fetched.append(item)
            return True
        return False

    def _rows(self) -> Iterator[dict[str, Any]]:
        requests = [] if self.matches_nothing else self._requests()
        if len(requests) > 1:
            return self._merged(requests)
        if self.is_sliced:
            return itertools.chain.from_iterable(map(self._rows_by_offset, requests))
        return itertools.chain.from_iterable(map(self._rows_by_key, requests))

    def _rows_by_key(self, filters: dict[str, Any]) -> Iterator[dict[str, Any]]:
        after: str | None = None
        while True:
            page = self._page(filters, limit=self.PAGE, after=after)
            yield from page["results"]
            after = page.get("next")
            if after is None:
                return

    def _rows_by_offset(self, filters: dict[str, Any]) -> Iterator[dict[str, Any]]:
        offset = self._start
        while self._stop is None or offset < self._stop:
            limit = self.PAGE if self._stop is None else min(self.PAGE, self._stop - offset)
            rows = self._page(filters, limit=limit, offset=offset)["results"]
            yield from rows
            offset += len(rows)
            if len(rows) < limit:
                return

    def _merged(self, requests: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        # More ids than fit into one URL: fetched in parts, then put in order here.
        rows = list(itertools.chain.from_iterable(map(self._rows_by_key, requests)))
        order = self._order or self.DEFAULT_ORDER
        name = order.removeprefix("-")
        rows.sort(key=lambda row: (row[name] is None, row[name], row["id"]), reverse=order.startswith("-"))
        return itertools.islice(rows, self._start, self._stop)

    def _page(self, filters: dict[str, Any], **window: Any) -> Any:
        return self._client.get(
            self._model.ROUTE, {**filters, "ordering": self._order, "count": "no", **window}
        )

    def _requests(self) -> list[dict[str, Any]]:
        """The filters, cut up where a list is too long for one URL."""
        longest = max(self._filters, key=lambda name: _length(self._filters[name]), default=None)
        if longest is None or _length(self._filters[longest]) <= IDS_PER_REQUEST:
            return [self._filters]
        values = list(dict.fromkeys(self._filters[longest]))
        return [{**self._filters, longest: part} for part in cut(values, IDS_PER_REQUEST)]

    def _explanations(self, limit: int) -> list[dict[str, Any]]:
        """The answers of at most so many matches on why they are where they are."""
        self._must_be_whole("explain")
        requests = [] if self.matches_nothing else self._requests()
        told = itertools.chain.from_iterable(self._explained(filters, limit) for filters in requests)
        return list(itertools.islice(told, limit))

    def _explained(self, filters: dict[str, Any], limit: int) -> Iterator[dict[str, Any]]:
        for offset in range(0, limit, MAX_EXPLAINED):
            size = min(limit - offset, MAX_EXPLAINED)
            rows = self._client.get(f"{self._model.ROUTE}why", {**filters, "limit": size, "offset": offset})
            yield from rows
            if len(rows) < size:
                return

    def _requests_of_slice(self) -> list[dict[str, Any]]:
        """The filters, or the ids of the slice."""
        if not self.is_sliced:
            return [filters or EVERYTHING for filters in self._requests()]
        return [{"id": part} for part in cut([row["id"] for row in self._rows()], IDS_PER_REQUEST)]

    def _patch_all(self, body: dict[str, Any]) -> int:
        items = [{"id": row["id"], **body} for row in self._rows()]
        for part in cut(items, MAX_ITEMS_PER_BULK_OP):
            patch_rows(self._client, self._model.ROUTE, part)
        return len(items)

    @property
    def matches_nothing(self) -> bool:
        """Whether a filter's list is empty, so that nothing needs to be asked."""
        return any(isinstance(value, list) and not value for value in self._filters.values())

    def _must_be_whole(self, verb: str) -> None:
        if self.is_sliced:
            raise Sliced(f"can't {verb} a query after it was sliced: {verb} first, then slice")

    def _told(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._filters.items()) or "(all)"


class Manager(Generic[M, Q]):
    """`Job.objects` and the like: where queries start.

    It holds no login: each call uses the default client of that moment, unless bound by `using`.
    """

    def __init__(self, model: type[M], query: type[Q], client: Callable[[], Client] = default_client) -> None:
        self._model = model
        self._query = query
        self._client_now = client

    def using(self, client: Client) -> Self:
        """The same, acting through `client`; so do all objects that come from it."""
        return type(self)(self._model, self._query, lambda: client)

    def client(self) -> Client:
        return self._client_now()

    def all(self) -> Q:
        return self._query(self._model, self._client_now())

    def count(self) -> int:
        return self.all().count()

    def bounded_count(self) -> BoundedCount:
        counted: BoundedCount = self.all().bounded_count()
        return counted

    def first(self) -> M | None:
        found: M | None = self.all().first()
        return found

    def bulk_create(self, instances: Iterable[M]) -> list[M]:
        """Creates many at once; the same instances, saved."""
        raise NotImplementedError(f"{self._model.__name__} objects can't be created in bulk")

    def bulk_update(self, instances: Iterable[M]) -> int:
        """Sends what changed in each; how many were sent."""
        if not self._query.UPDATE_IN_BULK:
            raise NotImplementedError(
                f"{self._model.__name__} objects can't be updated in bulk: save() them one by one"
            )
        changed = [(instance, body) for instance in instances if (body := instance.changed())]
        for part in cut(changed, MAX_ITEMS_PER_BULK_OP):
            items = [{"id": one.id, **body} for one, body in part]
            by_id = {row["id"]: row for row in patch_rows(self.client(), self._model.ROUTE, items)}
            for instance, _ in part:
                instance._load(by_id[instance.id])
        return len(changed)

    def created(self, instance: M) -> M:
        """Saves a new instance through this manager's client."""
        instance._client = self.client()
        instance.save()
        return instance


def patch_rows(client: Client, route: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of what was changed; raises SomeRefused, after all others were, where some could not be."""
    answer = client.request("PATCH", route, body=items)
    rows: list[dict[str, Any]] = answer.body
    refused = refusals(answer.headers.get("Balsam-Refused"))
    if refused:
        raise SomeRefused(len(rows), len(items) - len(rows), refused)
    return rows


def too_many(what: str, name: str, given: int) -> str:
    """The sentence that refuses a filter of more values than one request takes."""
    return (
        f"{what} takes {IDS_PER_REQUEST} values of {name} at most, and not {given:,}: choose the jobs by "
        "what they share, such as a tag, an app, a site, a BatchJob or a time"
    )


def cut(items: list[Any], size: int) -> list[list[Any]]:
    """Consecutive parts of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else 1
