"""Many rows in one statement, on both engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from balsam.store import migrate
from balsam.store.bulk import Columns, insert_columns, update_columns
from balsam.store.database import Database
from balsam.store.tables import idempotency, users

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
