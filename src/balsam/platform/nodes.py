"""The nodes of an allocation and what they hold."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """A compute node: names of its CPUs and GPUs as the operating system numbers them, memory in MiB."""

    name: str
    cpus: tuple[int, ...]
    gpus: tuple[str, ...]
    mem_mb: int


def detect_local(environ: Mapping[str, str]) -> list[Node]:
    """This host: the CPUs that this process may use, the GPUs of CUDA_VISIBLE_DEVICES (unset: none)."""
    return [
        Node(
            name=socket.gethostname(),
            cpus=tuple(sorted(os.sched_getaffinity(0))),
            gpus=parse_visible_gpus(environ.get("CUDA_VISIBLE_DEVICES", "")),
            mem_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        )
    ]


def parse_visible_gpus(text: str) -> tuple[str, ...]:
    """The GPUs of a CUDA_VISIBLE_DEVICES text, up to the first invalid one, as CUDA reads it."""
    gpus: list[str] = []
    for name in map(str.strip, text.split(",")):
        if name in ("", "-1", "none", "NoDevFiles"):
            break
        gpus.append(name)
    return tuple(gpus)
