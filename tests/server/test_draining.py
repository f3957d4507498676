"""Launchers that take from one backlog at the same time, each a process of its own, through two servers."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from tests.server.drainer import drain
from tests.server.lab import Lab
from tests.services import PasswordServer

LAUNCHERS, JOBS = 8, 20_000


def test_each_of_many_jobs_is_acquired_by_one_of_eight_processes(
    engine: str, new_database: Callable[[], str]
) -> None:
    jobs = JOBS if engine == "postgresql" else JOBS // 4
    url = new_database()
    with PasswordServer(url) as first:
        user = first.new_user()
        lab = Lab(user.client, hooks=[])
        created = [job for _ in range(jobs // 5_000) for job in lab.create(5_000)]
        sessions = [lab.session() for _ in range(LAUNCHERS)]
        if engine == "postgresql":
            with PasswordServer(url) as second:
                taken = drained([first.url, second.url], user.token, sessions)
        else:
            taken = drained([first.url], user.token, sessions)
        user.client.close()
    assert all(taken), "every launcher got some"
    assert sorted(job for jobs_ in taken for job in jobs_) == created


def drained(urls: list[str], token: str, sessions: list[int]) -> list[list[int]]:
    """The ids that each session got."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Manager() as manager, ProcessPoolExecutor(LAUNCHERS, spawn) as pool:
        start = manager.Barrier(LAUNCHERS)
        places = [urls[number % len(urls)] for number in range(LAUNCHERS)]
        return list(pool.map(drain, places, [token] * LAUNCHERS, sessions, [start] * LAUNCHERS))
