"""The recipe of docs/facility.md: a backup of a running server, and what its restoration does."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from balsam.client.transport import Client
from balsam.core.errors import WrongSchema
from balsam.server import deployment
from balsam.server.daemon import DaemonError
from balsam.store import ids, migrate, restoration, tables
from balsam.store.database import Database
from tests.server.lab import Lab
from tests.services import DeployedServer, PostgresServer


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[PostgresServer]:
    """Another PostgreSQL, as after the loss of the first: it has seen fewer transactions."""
    with PostgresServer() as server:
        yield server


def first_message(client: Client, cursor: str) -> str:
    messages = client.stream("/stream", {"cursor": cursor})
    name = next(messages).name
    messages.close()  # type: ignore[attr-defined]
    return name


def cursor_now(client: Client) -> str:
    messages = client.stream("/stream")
    cursor = str(next(messages).data["cursor"])
    messages.close()  # type: ignore[attr-defined]
    return cursor


def check_restored(server: DeployedServer, token: str, lab: Lab, kept: list[int], lost: list[int]) -> None:
    """What was there at the backup is there, what was made after it is gone and its ids stay unused."""
    with Client(server.url, token) as client:
        lab.client = client
        assert {row["id"] for row in client.get("/jobs/")["results"]} == set(kept)
        [session] = client.get("/sessions/")["results"]
        client.put(f"/sessions/{session['id']}", {})
        made = lab.create(2)
        assert min(made) > max(lost) + 1000
        assert lab.walk(made[0])[-1] == "PREPROCESSED"


def hears_new_events(client: Client, lab: Lab) -> bool:
    messages = client.stream("/stream", {"to_state": ["PREPROCESSED"]})
    assert next(messages).name == "hello"
    made = lab.create()
    events = next(message for message in messages if message.name == "events")
    messages.close()  # type: ignore[attr-defined]
    return [event["job_id"] for event in events.data] == made


def test_postgresql_is_dumped_and_restored_on_another_server(
    postgres: PostgresServer, elsewhere: PostgresServer, tmp_path: Path
) -> None:
    url = postgres.new_database()
    name = url.rpartition("/")[2]
    dump = postgres.folder / f"{name}.dump"
    with DeployedServer(tmp_path / "server", url, lease_sec=600.0) as server:
        user = server.new_user()
        lab = Lab(user.client, hooks=[])
        kept = lab.create(3)
        lab.session()
        before = cursor_now(user.client)
        postgres.run("pg_dump", *place(postgres, name), "--format=custom", f"--file={dump}")
        lost = lab.create(5)
        after = cursor_now(user.client)
        user.client.close()
    new_url = elsewhere.new_database()
    readable = elsewhere.folder / dump.name
    readable.write_bytes(dump.read_bytes())
    readable.chmod(0o644)  # for the account of that server
    elsewhere.run("pg_restore", *place(elsewhere, new_url.rpartition("/")[2]), "--no-owner", str(readable))
    moved = DeployedServer(tmp_path / "moved", new_url, lease_sec=600.0)
    with pytest.raises(WrongSchema, match="balsam server restored"):
        moved.up()
    deployment.restored(moved.deployed.settings)
    with moved, Client(moved.url, user.token) as client:
        check_restored(moved, user.token, lab, kept, lost)
        assert [first_message(client, cursor) for cursor in (before, after)] == ["reset", "reset"]
        lab.client = client
        assert hears_new_events(client, lab)
        with pytest.raises(DaemonError, match=r"server process(es)? of Balsam use the database .* stop the"):
            deployment.restored(moved.deployed.settings)


def test_ids_of_tables_that_were_empty_are_skipped_too(new_database: Callable[[], str]) -> None:
    db = Database(new_database())
    migrate.upgrade(db)
    with db.write() as tx:
        restoration.begin_anew(tx)
    with db.write() as tx:
        given = [
            ids.allocate(tx.conn, table, 1)[0] for table in (tables.jobs, tables.sessions, tables.events)
        ]
    db.close()
    assert min(given) > restoration.SKIPPED_IDS


def place(server: PostgresServer, name: str) -> list[str]:
    return ["--host=127.0.0.1", f"--port={server.port}", "--username=balsam", f"--dbname={name}"]


def test_sqlite_is_copied_while_it_serves_and_put_back(tmp_path: Path) -> None:
    file, copy = tmp_path / "balsam.db", tmp_path / "copy.db"
    server = DeployedServer(tmp_path / "server", f"sqlite:///{file}", lease_sec=600.0)
    with server:
        user = server.new_user()
        lab = Lab(user.client, hooks=[])
        kept = lab.create(3)
        lab.session()
        before = cursor_now(user.client)
        source, target = sqlite3.connect(file), sqlite3.connect(copy)
        source.backup(target)
        source.close()
        target.close()
        lost = lab.create(5)
        after = cursor_now(user.client)
        user.client.close()
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    copy.replace(file)
    deployment.restored(server.deployed.settings)
    with server, Client(server.url, user.token) as client:
        check_restored(server, user.token, lab, kept, lost)
        assert [first_message(client, cursor) for cursor in (before, after)] == ["reset", "reset"]
        lab.client = client
        assert hears_new_events(client, lab)
