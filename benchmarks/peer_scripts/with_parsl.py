"""Parsl: `python with_parsl.py shell|function COUNT FOLDER` prints what it took, as JSON."""

from __future__ import annotations

import json
import sys
import time

import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider
from parsl.usage_tracking.levels import DISABLED

SLOTS = 2


@parsl.bash_app
def shell(stdout: str = "") -> str:
    """Parsl makes the folder of its output."""
    return "/bin/true"


@parsl.python_app
def nothing() -> int:
    return 0


def main(what: str, count: int, folder: str) -> dict[str, object]:
    executor = HighThroughputExecutor(
        label="local",
        address="127.0.0.1",
        max_workers_per_node=SLOTS,
        cores_per_worker=1,
        encrypted=False,
        provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
    )
    config = Config(executors=[executor], run_dir=f"{folder}/runinfo", usage_tracking=DISABLED)
    with parsl.load(config):
        nothing().result()
        begin = time.perf_counter()
        if what == "shell":
            futures = [shell(stdout=f"{folder}/{number}/job.out") for number in range(count)]
        else:
            futures = [nothing() for _ in range(count)]
        for future in futures:
            future.result()
        return {"seconds": time.perf_counter() - begin}


if __name__ == "__main__":
    told = main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    print(json.dumps(told), flush=True)
