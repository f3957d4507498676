"""What a launcher's command line says."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from balsam.core.states import JobMode


class UsageError(Exception):
    """A command line that this launcher can't follow; one sentence."""


@dataclass(frozen=True)
class Part:
    """One launcher's share of an allocation."""

    mode: JobMode
    num_nodes: int
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Orders:
    """What the command line says. `nodes`: names of the only ones to be used; empty for all.

    With `parts` the launcher starts one launcher for each and runs nothing itself.
    """

    mode: JobMode
    wall_time_min: float
    batch_job_id: int | None
    tags: Mapping[str, str]
    partition: int = 0
    nodes: Sequence[str] = ()
    parts: Sequence[Part] = field(default=())


def parse_orders(arguments: Sequence[str]) -> Orders:
    """From the command line; raises UsageError, or SystemExit with a usage text."""
    parser = argparse.ArgumentParser(prog="balsam.launcher", description="The pilot job of an allocation.")
    parser.add_argument("-j", "--job-mode", required=True, type=parse_mode)
    parser.add_argument("-t", "--wall-time-min", required=True, type=float)
    parser.add_argument("-b", "--batch-job", type=int)
    parser.add_argument("-tag", "--tag", action="append", default=[], type=parse_tag, metavar="KEY=VALUE")
    parser.add_argument("-p", "--part", action="append", default=[], metavar="MODE:NODES[:KEY=VALUE...]")
    parser.add_argument("--partition", type=int, default=0, help="which part of its allocation this is")
    parser.add_argument("--nodes", default="", help="names, with commas between; left out: all")
    given = parser.parse_args(arguments)
    mode, tags = given.job_mode, dict(given.tag)
    parts = [parse_part(text) for text in given.part]
    if len(parts) == 1:
        mode, tags, parts = parts[0].mode, {**tags, **parts[0].tags}, []
    nodes = [name for name in given.nodes.split(",") if name]
    return Orders(mode, given.wall_time_min, given.batch_job, tags, given.partition, nodes, parts)


def parse_mode(text: str) -> JobMode:
    """Raises ValueError."""
    return JobMode(text.removeprefix("JobMode."))


def parse_tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is no tag: write KEY=VALUE")
    return key, value


def parse_part(text: str) -> Part:
    """From `MODE:NODES[:KEY=VALUE...]`; raises UsageError."""
    mode, _, rest = text.partition(":")
    number, *tags = rest.split(":")
    if not number.isdigit() or int(number) < 1:
        raise UsageError(f"--part {text}: {number!r} is no number of nodes; write MODE:NODES[:KEY=VALUE...]")
    try:
        return Part(parse_mode(mode), int(number), dict(map(parse_tag, tags)))
    except ValueError as exc:
        raise UsageError(f"--part {text}: {exc}") from exc
