"""How leader and workers make sure of each other."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.launcher.door import GREETINGS, Door
from balsam.launcher.lines import remove_leftovers
from balsam.launcher.rendezvous import (
    GREET_SEC,
    LEADER,
    WORD_BYTES,
    WORKER,
    NotOurs,
    Rendezvous,
    greet,
    new_secret,
    own_addresses,
    own_node,
)
from tests.waiting import wait_until


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def test_ends_that_know_the_secret_accept_each_other(ends: tuple[socket.socket, socket.socket]) -> None:
    secret = new_secret()
    worker = threading.Thread(target=greet, args=(ends[1], secret, WORKER, LEADER))
    worker.start()
    greet(ends[0], secret, LEADER, WORKER)
    worker.join(10)
    ends[0].sendall(b"hello")
    assert ends[1].recv(5) == b"hello"


def test_who_does_not_know_the_secret_is_turned_away(ends: tuple[socket.socket, socket.socket]) -> None:
    def guess() -> None:
        with pytest.raises(NotOurs):
            greet(ends[1], new_secret(), WORKER, LEADER)

    stranger = threading.Thread(target=guess)
    stranger.start()
    with pytest.raises(NotOurs, match="does not know the secret"):
        greet(ends[0], new_secret(), LEADER, WORKER)
    stranger.join(10)


def test_proof_that_is_sent_back_proves_nothing(ends: tuple[socket.socket, socket.socket]) -> None:
    def mirror() -> None:
        for _ in range(2):
            ends[1].sendall(ends[1].recv(WORD_BYTES))

    stranger = threading.Thread(target=mirror)
    stranger.start()
    with pytest.raises(NotOurs):
        greet(ends[0], new_secret(), LEADER, WORKER)
    stranger.join(10)


def test_who_hangs_up_is_no_worker(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[1].close()
    with pytest.raises((NotOurs, OSError)):
        greet(ends[0], new_secret(), LEADER, WORKER)


def test_worker_finds_its_leader_by_the_file_at_the_first_address_that_is_the_leaders(tmp_path: Path) -> None:
    secret, path = new_secret(), tmp_path / "leader.json"
    with socket.create_server(("127.0.0.1", 0)) as door, socket.create_server(("127.0.0.1", 0)) as closed:
        port = door.getsockname()[1]
        closed.close()
        meeting = Rendezvous(("127.0.0.99", "127.0.0.1"), port, secret, ("a", "b"), 60.0, 1 << 30)
        meeting.write(path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert secret not in repr(meeting)
        found = Rendezvous.read(path)
        links: list[socket.socket] = []

        def serve() -> None:
            links.append(door.accept()[0])
            greet(links[0], secret, LEADER, WORKER)

        leader = threading.Thread(target=serve)
        leader.start()
        with found.connect() as link:
            leader.join(10)
            link.sendall(b"x")
            assert links[0].recv(1) == b"x"
        links[0].close()


def test_own_addresses_have_loopback_last() -> None:
    addresses = own_addresses()
    loopback = [address.startswith("127.") for address in addresses]
    assert loopback == sorted(loopback)


@pytest.mark.parametrize(
    ("environ", "node"),
    [
        ({"SLURMD_NODENAME": "b", "SLURM_PROCID": "0"}, "b"),
        ({"PMI_RANK": "1"}, "b"),
        ({"OMPI_COMM_WORLD_RANK": "0"}, "a"),
        ({"PMI_RANK": "2"}, None),
        ({}, None),
    ],
)
def test_worker_knows_its_node_by_name_or_place(environ: dict[str, str], node: str | None) -> None:
    assert own_node(["a", "b"], environ) == node


def test_who_speaks_drop_by_drop_is_turned_away_in_time() -> None:
    door = Door(new_secret(), 1)
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", door.port)) as link:
        link.settimeout(0.5)
        with contextlib.suppress(OSError):
            while time.monotonic() < began + 30:
                link.sendall(b"x")
                with contextlib.suppress(TimeoutError):
                    if not link.recv(WORD_BYTES):
                        break
    assert GREET_SEC - 1 < time.monotonic() - began < GREET_SEC + 10
    door.close()


def test_strangers_who_say_nothing_hold_few_threads_and_workers_get_in() -> None:
    secret = new_secret()
    door = Door(secret, 200)
    before = threading.active_count()
    newcomers: list[socket.socket] = []
    with contextlib.ExitStack() as strangers:
        for _ in range(GREETINGS // 2):
            strangers.enter_context(socket.create_connection(("127.0.0.1", door.port)))
        with socket.create_connection(("127.0.0.1", door.port)) as worker:
            greet(worker, secret, WORKER, LEADER)

            def is_in() -> bool:
                newcomers.extend(door.newcomers())
                return bool(newcomers)

            wait_until(is_in)
            newcomers[0].close()
        for _ in range(2 * GREETINGS):
            strangers.enter_context(socket.create_connection(("127.0.0.1", door.port)))
        assert threading.active_count() - before <= GREETINGS + 1  # one may have had its say just now
    door.close()


def test_file_of_a_leader_goes_when_it_is_dead_and_not_before(tmp_path: Path) -> None:
    meeting = Rendezvous(("127.0.0.1",), 1, new_secret(), ("a",), 60.0, 1 << 30)
    alive, dead = tmp_path / "leader-alive.json", tmp_path / "leader-dead.json"
    lock = meeting.write(alive)
    os.close(meeting.write(dead))
    remove_leftovers(tmp_path)
    assert alive.exists() and dead.exists()  # its workers may be about to read it, as far as locks tell
    for path in (alive, dead):
        os.utime(path, (0, 0))
    remove_leftovers(tmp_path)
    assert alive.exists() and not dead.exists()
    os.close(lock)
