"""The courier of a launcher, with servers that are made up."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from balsam.client.errors import AuthError
from balsam.client.transport import Client
from balsam.core.clock import naive_text, now_us
from balsam.launcher.courier import Courier, Terms
from balsam.launcher.news import News, Opened
from balsam.runtime.spool import SpoolFolder
from tests.waiting import wait_until

SESSION = {"batch_job_id": None, "partition": None}


class Refusing:
    def post(self, *args: Any, **options: Any) -> Any:
        raise AuthError("nowhere")


class Answering:
    def post(self, *args: Any, **options: Any) -> Any:
        return {"id": 7, "lease_sec": 60.0, "heartbeat": naive_text(now_us())}

    def put(self, *args: Any, **options: Any) -> Any:
        return {"in_step": True, "job_ids": [], "server_time_us": now_us()}

    def delete(self, *args: Any, **options: Any) -> None:
        pass


def test_a_courier_outlives_what_its_host_lacks_for_a_moment(tmp_path: Path) -> None:
    """Kind: a thread that ends of what nobody foresaw, while others keep the lease and the jobs."""
    posted: list[News] = []
    makers: list[Callable[[], Any]] = [Refusing, _no_files, Answering]

    def make_client() -> Client:
        return cast(Client, (makers.pop(0) if len(makers) > 1 else makers[0])())

    courier = Courier(make_client, Terms(SESSION, {}, lambda: 1.0), posted.append, SpoolFolder(tmp_path))
    courier.start()
    wait_until(lambda: any(isinstance(news, Opened) for news in posted))
    assert courier.finish(10.0)


def _no_files() -> Any:
    raise OSError(errno.EMFILE, "Too many open files")
