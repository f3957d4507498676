"""HyperQueue, by its Python interface: `python with_hyperqueue.py shell COUNT FOLDER` prints what it took."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from hyperqueue import Job
from hyperqueue.cluster import LocalCluster, WorkerConfig

SLOTS = 2


def main(count: int, folder: str) -> dict[str, object]:
    with LocalCluster() as cluster:
        cluster.start_worker(WorkerConfig(cores=SLOTS))
        client = cluster.client()
        first = Job(name="first")
        first.program(["/bin/true"], cwd=folder, stdout=f"{folder}/first.out", stderr=f"{folder}/first.out")
        client.wait_for_jobs([client.submit(first)])
        begin = time.perf_counter()
        job = Job(name="shell")
        for number in range(count):
            workdir = f"{folder}/{number}"
            # It makes the folders of its output.
            job.program(["/bin/true"], cwd=folder, stdout=f"{workdir}/job.out", stderr=f"{workdir}/job.out")
        client.wait_for_jobs([client.submit(job)])
        seconds = time.perf_counter() - begin
        made = sum(1 for _ in Path(folder).glob("*/job.out"))
        if made != count:
            raise SystemExit(f"{made} of {count} outputs are there")
        return {"seconds": seconds}


if __name__ == "__main__":
    told = main(int(sys.argv[2]), sys.argv[3])
    print(json.dumps(told), flush=True)
    os._exit(0)  # the runtime of its server outlives it
