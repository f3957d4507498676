"""How leader and workers make sure of each other."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.launcher.rendezvous import (
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
