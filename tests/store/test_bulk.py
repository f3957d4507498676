"""Many rows in one statement, on both engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Boolean, Column, Float, Integer, MetaData, Table, Text, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from balsam.core.states import JobState
from balsam.store import migrate
from balsam.store.bulk import Columns, insert_blocks, insert_columns, update_columns
from balsam.store.database import Database
from balsam.store.tables import Json, idempotency, users

ON_POSTGRESQL = pytest.mark.parametrize("engine", ["postgresql"], indirect=True)

OWNER = {"owner_id": 1}


@pytest.fixture
def db(new_database: Callable[[], str]) -> Iterator[Database]:
    db = Database(new_database())
    migrate.upgrade(db)
    with db.write() as tx:
        insert_columns(tx.conn, users, {"id": [1], "username": ["u"], "created": [0]})
    yield db
    db.close()


def keep(db: Database, keys: list[str]) -> None:
    same: Columns = {"owner_id": [1] * len(keys), "created": [0] * len(keys), "answer": [{}] * len(keys)}
    with db.write() as tx:
        insert_columns(tx.conn, idempotency, {"key": keys, "digest": keys, **same})


ODD = ["'; --", 'a "b"', "\\N", "tab\t, line\n", "{1,2}", "%s %(x)s ? :x", "", "é☃"]


def test_odd_texts_and_json_come_back_as_they_were(db: Database) -> None:
    keep(db, ODD)
    answers: list[dict[str, Any]] = [{"a": [text, None, 1, 1.5, True, {}]} for text in ODD]
    with db.write() as tx:
        update_columns(tx.conn, idempotency, {"key": ODD, "answer": answers}, key="key", match=OWNER)
    with db.read() as conn:
        found = conn.execute(select(idempotency.c.key, idempotency.c.digest, idempotency.c.answer)).all()
    assert sorted(map(tuple, found), key=str) == sorted(zip(ODD, ODD, answers, strict=True), key=str)


def test_values_that_python_takes_for_equal_stay_what_they_are(db: Database) -> None:
    keep(db, ["a", "b", "c"])
    answers = [{"x": 1}, {"x": True}, {"x": 1.0}]
    columns: Columns = {"key": ["a", "b", "c"], "answer": answers}
    with db.write() as tx:
        update_columns(tx.conn, idempotency, columns, key="key", match=OWNER)
    with db.read() as conn:
        found = conn.execute(select(idempotency.c.answer).order_by(idempotency.c.key)).scalars()
    assert [type(answer["x"]) for answer in found] == [int, bool, float]


def test_only_rows_that_match_are_changed(db: Database) -> None:
    keep(db, ["a"])
    with db.write() as tx:
        columns = {"key": ["a"], "digest": ["changed"]}
        update_columns(tx.conn, idempotency, columns, key="key", match={"owner_id": 2})
    with db.read() as conn:
        assert conn.execute(select(idempotency.c.digest)).scalar_one() == "a"


def test_rows_that_break_a_rule_raise_one_error_on_both_engines_and_none_stays(db: Database) -> None:
    with pytest.raises(IntegrityError):
        keep(db, ["a", "b", "a"])
    with db.read() as conn:
        assert conn.execute(select(idempotency.c.key)).all() == []


def test_an_error_while_rows_are_made_leaves_none_and_is_raised_as_it_is(db: Database) -> None:
    def blocks() -> Iterator[Columns]:
        yield {"id": [7], "username": ["seven"], "created": [0]}
        raise LookupError("eight")

    with pytest.raises(LookupError, match="eight"), db.write() as tx:
        insert_blocks(tx.conn, users, ("id", "username", "created"), blocks())
    with db.read() as conn:
        assert conn.execute(select(users.c.id)).scalars().all() == [1]


ANY_KIND = Table(
    "any_kind",
    MetaData(),
    Column("number", Integer),
    Column("text", Text),
    Column("real", Float),
    Column("flag", Boolean),
    Column("tree", Json),
)
# Mostly what COPY takes for something else; no lone surrogate and no NUL, which no database holds.
TEXTS = st.text(
    st.sampled_from("\\\t\n\r\b\v.N\"'{},a")
    | st.characters(exclude_categories=["Cs"], exclude_characters="\0")
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ROWS = st.tuples(
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | TEXTS | st.sampled_from([*JobState, "\\N", "\\."]),
    st.none() | st.floats(),
    st.none() | st.booleans(),
    TREES,
)


@ON_POSTGRESQL
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROWS, min_size=1, max_size=5), times=st.sampled_from([1, 3]))
def test_rows_are_copied_as_the_driver_would_write_them(
    db: Database, rows: list[tuple[Any, ...]], times: int
) -> None:
    rows = [row for row in rows for _ in range(times)]
    columns = dict(zip(ANY_KIND.columns.keys(), zip(*rows, strict=True), strict=True))
    read = "SELECT any_kind::text FROM any_kind ORDER BY ctid"
    with db.write() as tx:
        tx.conn.exec_driver_sql("DROP TABLE IF EXISTS any_kind")
        ANY_KIND.create(tx.conn)
        insert_columns(tx.conn, ANY_KIND, columns)
        ours = tx.conn.exec_driver_sql(read).all()
        tx.conn.exec_driver_sql("TRUNCATE any_kind")
        driver: Any = tx.conn.connection
        with driver.cursor() as cursor, cursor.copy("COPY any_kind FROM STDIN") as copy:
            for *plain, tree in rows:
                values = [str(value) if isinstance(value, str) else value for value in plain]
                copy.write_row([*values, None if tree is None else orjson.dumps(tree).decode()])
        assert ours == tx.conn.exec_driver_sql(read).all()


def test_a_text_that_no_database_holds_is_one_of_sqlalchemys_errors_on_postgresql(db: Database) -> None:
    if not db.is_sqlite:
        with pytest.raises(DBAPIError):
            keep(db, ["a\0b"])
