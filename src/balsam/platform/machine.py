"""Machines are data: a YAML file (scheduler, node type, MPI launcher, queues) and a job template each."""

from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import yaml

LOCAL = "local"
DEFAULT_TEMPLATE = "job-template.sh"


class UnknownMachine(Exception):
    """There is no file for a machine of this name."""


@dataclass(frozen=True)
class Queue:
    """What a queue takes: nodes and minutes per allocation, allocations at once."""

    max_nodes: int
    max_walltime: int
    max_queued_jobs: int


@dataclass(frozen=True)
class Machine:
    """How to use a machine. `job_template` is text; the other names pick code that ships with Balsam."""

    name: str
    description: str
    scheduler: str
    node: str
    mpi_launcher: str
    projects: tuple[str, ...]
    queues: dict[str, Queue]
    job_template: str


def machine_names() -> list[str]:
    """Machines that ship with Balsam."""
    return sorted(f.name.removesuffix(".yml") for f in _folder().iterdir() if f.name.endswith(".yml"))


def load_machine(name: str) -> Machine:
    """The machine of this name; raises UnknownMachine, naming those that there are."""
    if name not in machine_names():
        raise UnknownMachine(f"there is no machine {name!r}; there are: {', '.join(machine_names())}")
    facts = yaml.safe_load((_folder() / f"{name}.yml").read_text(encoding="utf-8"))
    return parse_machine(name, facts, job_template(f"{name}.sh"))


def parse_machine(name: str, facts: dict[str, Any], template: str) -> Machine:
    """A machine from the content of its file."""
    return Machine(
        name=name,
        description=facts["description"],
        scheduler=facts["scheduler"],
        node=facts["node"],
        mpi_launcher=facts["mpi_launcher"],
        projects=tuple(facts["projects"]),
        queues={key: Queue(**limits) for key, limits in facts["queues"].items()},
        job_template=template,
    )


def job_template(file_name: str) -> str:
    """The machine's own job template, or the common one where it has none."""
    own = _folder() / file_name
    chosen = own if own.is_file() else _folder() / DEFAULT_TEMPLATE
    return chosen.read_text(encoding="utf-8")


def _folder() -> Traversable:
    return files("balsam.platform") / "machines"
