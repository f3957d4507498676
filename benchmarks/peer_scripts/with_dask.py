"""Dask: `python with_dask.py shell|function|latency COUNT FOLDER` prints what it took, as JSON."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from pathlib import Path

from distributed import Client, LocalCluster, wait

SLOTS = 2


def shell(workdir: str) -> int:
    folder = Path(workdir)
    folder.mkdir(parents=True)
    with (folder / "job.out").open("ab") as output:
        return subprocess.call(["/bin/true"], stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def nothing(_number: int) -> int:
    return 0


def main(what: str, count: int, folder: str) -> dict[str, object]:
    cluster = LocalCluster(
        n_workers=SLOTS,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        silence_logs=logging.ERROR,
        local_directory=folder,
    )
    with cluster, Client(cluster) as client:
        client.wait_for_workers(SLOTS)
        client.submit(nothing, -1, pure=False).result()
        if what == "latency":
            each = []
            for number in range(count):
                begin = time.perf_counter()
                client.submit(nothing, number, pure=False).result()
                each.append(time.perf_counter() - begin)
            return {"each": each}
        begin = time.perf_counter()
        if what == "shell":
            futures = client.map(shell, [f"{folder}/{number}" for number in range(count)], pure=False)
        else:
            futures = client.map(nothing, range(count), pure=False)
        wait(futures)
        seconds = time.perf_counter() - begin
        if any(future.status != "finished" for future in futures):
            raise SystemExit("not all tasks have finished")
        return {"seconds": seconds}


if __name__ == "__main__":
    told = main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    print(json.dumps(told), flush=True)
