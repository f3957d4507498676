"""`balsam server migrate`, `deploy` and `up` as an operator calls them; docs/facility.md runs the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from balsam.server import daemon
from tests.cli.conftest import Balsam


@pytest.fixture
def database(new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty one, named in the environment."""
    url = new_database()
    monkeypatch.setenv("BALSAM_DATABASE_URL", url)
    return url


def test_migrate_says_what_it_did(balsam: Balsam, database: str) -> None:
    assert "were created, at revision" in balsam("server", "migrate").out
    assert "which is current" in balsam("server", "migrate").out
    assert balsam("server", "migrate", "--check").status == 0


def test_a_check_changes_nothing_and_names_the_command(balsam: Balsam, database: str) -> None:
    for _ in range(2):
        said = balsam("server", "migrate", "--check")
        assert said.status == 1 and "run `balsam server migrate`" in said.err


def test_without_a_database_migrate_says_how_to_name_one(balsam: Balsam) -> None:
    said = balsam("server", "migrate")
    assert said.status == 1 and "BALSAM_DATABASE_URL" in said.err


def test_several_workers_on_sqlite_are_refused(balsam: Balsam, home: Path) -> None:
    said = balsam("server", "deploy", "-p", home / "server", "--workers", "2")
    assert said.status == 1 and "set workers to 1, or use PostgreSQL" in said.err
    assert not daemon.status(home / "server").running


def test_up_without_a_deployment_says_what_is_missing(balsam: Balsam, home: Path) -> None:
    said = balsam("server", "up", "-p", home / "nothing")
    assert said.status == 1 and "no database is named" in said.err


def test_a_taken_port_is_named(balsam: Balsam, home: Path) -> None:
    port = daemon.free_port()
    assert balsam("server", "deploy", "-p", home / "one", "--port", port).status == 0
    try:
        said = balsam("server", "deploy", "-p", home / "two", "--port", port)
        assert said.status == 1 and f"port {port}" in said.err
        again = balsam("server", "up", "-p", home / "one")
        assert again.status == 0 and "runs already" in again.out
    finally:
        assert "has stopped" in balsam("server", "down", "-p", home / "one").out


def test_a_deployment_that_failed_is_repeated_with_other_choices(balsam: Balsam, home: Path) -> None:
    folder = home / "server"
    port = daemon.free_port()
    failed = balsam("server", "deploy", "-p", folder, "--workers", "2", "--port", port)
    assert failed.status == 1 and "set workers to 1" in failed.err
    unreachable = balsam("server", "deploy", "-p", folder, "--workers", "1", "--host", "192.0.2.1")
    assert unreachable.status == 1
    try:
        again = balsam("server", "deploy", "-p", folder, "--workers", "1", "--host", "127.0.0.1")
        assert again.status == 0, again.err
        assert f"127.0.0.1:{port}" in again.out, "what is not chosen again stays"
        status = balsam("server", "status", "-p", folder)
        assert status.status == 0 and "running" in status.out and str(port) in status.out
        same = balsam("server", "deploy", "-p", folder, "--port", port)
        assert same.status == 0 and "runs already" in same.out
        other = balsam("server", "deploy", "-p", folder, "--port", daemon.free_port())
        assert other.status == 1 and "change port there" in other.err
        assert "a server runs on" in balsam("server", "restored", "-p", folder).err
    finally:
        balsam("server", "down", "-p", folder)
    assert balsam("server", "status", "-p", folder).status == 1
    assert balsam("server", "restored", "-p", folder).status == 0
