"""Machines are data: a YAML file (scheduler, nodes, MPI launcher, queues) and a job template each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import yaml

from balsam.platform.mpi import UnknownLauncher, launcher_name
from balsam.platform.mpi.gpus import VARIABLE_OF
from balsam.platform.nodes import Node, NodeFacts, UnknownNodes, detect, node_kinds
from balsam.platform.schedulers import SCHEDULERS
from balsam.platform.schedulers.batch_system import SubmitForm

LOCAL = "local"
DEFAULT_TEMPLATE = "job-template.sh"

# Older settings name classes by dotted paths; the last part of each that has nodes here.
_OLDER_NODES = {
    "ComputeNode": LOCAL,
    "DefaultNode": LOCAL,
    "PerlmutterGPUNode": "perlmutter",
    "PerlmutterNode": "slurm",  # with GPUs or without
    "AuroraNode": "aurora",
    "PolarisNode": "polaris",
}


class UnknownMachine(Exception):
    """There is no file for a machine of this name."""


class InvalidMachine(Exception):
    """A machine's file that can't be used: one sentence with the machine and the key."""


@dataclass(frozen=True)
class Queue:
    """What a queue takes: nodes and minutes per allocation, allocations at once."""

    max_nodes: int
    max_walltime: int
    max_queued_jobs: int


@dataclass(frozen=True)
class Machine:
    """How to use a machine. `job_template` is text; the other names pick code that ships with Balsam.

    `node`: a kind of nodes, `facts`: what such a node holds. `submit`: how the batch system is asked.
    """

    name: str
    description: str
    scheduler: str
    node: str
    mpi_launcher: str
    projects: tuple[str, ...]
    queues: dict[str, Queue]
    job_template: str
    facts: NodeFacts
    submit: SubmitForm = field(default_factory=SubmitForm)


def machine_names() -> list[str]:
    """Machines that ship with Balsam."""
    return sorted(f.name.removesuffix(".yml") for f in _folder().iterdir() if f.name.endswith(".yml"))


def load_machine(name: str) -> Machine:
    """The machine of this name; raises UnknownMachine, naming those that there are."""
    if name not in machine_names():
        raise UnknownMachine(f"there is no machine {name!r}; there are: {', '.join(machine_names())}")
    facts = yaml.safe_load((_folder() / f"{name}.yml").read_text(encoding="utf-8"))
    return parse_machine(name, facts, job_template(f"{name}.sh"))


def parse_machine(name: str, content: Mapping[str, Any], template: str) -> Machine:
    """A machine from the content of its file; raises InvalidMachine."""
    kind, launcher = _text(name, content, "node"), _text(name, content, "mpi_launcher")
    if kind not in node_kinds():
        raise InvalidMachine(f"{name}.yml: node is {kind!r}; there are: {', '.join(node_kinds())}")
    try:
        launcher_name(launcher)
    except UnknownLauncher as exc:
        raise InvalidMachine(f"{name}.yml: {exc}") from exc
    if (scheduler := _text(name, content, "scheduler")) not in SCHEDULERS:
        raise InvalidMachine(f"{name}.yml: scheduler is {scheduler!r}; there are: {', '.join(SCHEDULERS)}")
    known = {field.name for field in fields(Machine)} - {"name", "job_template"}
    _refuse_others(name, "it", content, known)
    return Machine(
        name=name,
        description=_text(name, content, "description"),
        scheduler=scheduler,
        node=kind,
        mpi_launcher=launcher,
        projects=_texts(name, content, "projects"),
        queues=_queues(name, content.get("queues")),
        job_template=template,
        facts=_facts(name, content.get("facts") or {}),
        submit=_submit(name, content.get("submit") or {}),
    )


def job_template(file_name: str) -> str:
    """The machine's own job template, or the common one where it has none."""
    own = _folder() / file_name
    chosen = own if own.is_file() else _folder() / DEFAULT_TEMPLATE
    return chosen.read_text(encoding="utf-8")


def nodes_name(name: str) -> str:
    """The nodes that a setting means: a kind, a machine's or by an older dotted path; raises UnknownNodes."""
    short = _OLDER_NODES.get(name.rpartition(".")[2], name)
    known = sorted({*node_kinds(), *machine_names()})
    if short not in known:
        raise UnknownNodes(f"there are no nodes {name!r} here; there are: {', '.join(known)}")
    return short


def detect_nodes(name: str, environ: Mapping[str, str]) -> list[Node]:
    """The nodes that this process was given; `name` as for `nodes_name`. Raises UnknownNodes."""
    short = nodes_name(name)
    if short in node_kinds():
        return detect(short, environ)
    machine = load_machine(short)
    return detect(machine.node, environ, machine.facts)


def nodes_by_facts(name: str) -> list[Node] | None:
    """A node of the machine that this setting names, as its file says; None where the file does not say."""
    short = nodes_name(name)
    if short in node_kinds():
        return None
    facts = load_machine(short).facts
    if facts.cores is None or facts.mem_mb is None:
        return None
    cpus = tuple(core for core in range(facts.cores) if core not in facts.reserved_cores)
    return [Node(short, cpus, facts.gpus, facts.mem_mb, gpu_maker=facts.gpu_maker)]


def _folder() -> Traversable:
    return files("balsam.platform") / "machines"


def _text(name: str, content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    if not isinstance(value, str) or not value:
        raise InvalidMachine(f"{name}.yml: {key} is {value!r}; it should be a text")
    return value


def _texts(name: str, content: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = content.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidMachine(f"{name}.yml: {key} is {value!r}; it should be a list of texts")
    return tuple(value)


def _count(name: str, key: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidMachine(f"{name}.yml: {key} is {value!r}; it should be a number of at least 1")
    return value


def _refuse_others(name: str, where: str, content: Mapping[str, Any], known: set[str]) -> None:
    others = [key for key in content if key not in known]
    if others:
        raise InvalidMachine(
            f"{name}.yml: {where} has the unknown key {others[0]!r}; it may have {', '.join(sorted(known))}"
        )


def _queues(name: str, content: object) -> dict[str, Queue]:
    if not isinstance(content, dict) or not content:
        raise InvalidMachine(f"{name}.yml: queues is {content!r}; it should name at least one queue")
    known = [field.name for field in fields(Queue)]
    queues: dict[str, Queue] = {}
    for queue, limits in content.items():
        if not isinstance(limits, dict):
            raise InvalidMachine(
                f"{name}.yml: queue {queue} is {limits!r}; it should have {', '.join(known)}"
            )
        _refuse_others(name, f"queue {queue}", limits, set(known))
        queues[queue] = Queue(**{k: _count(name, f"queues.{queue}.{k}", limits.get(k)) for k in known})
    return queues


def _submit(name: str, content: object) -> SubmitForm:
    """How the machine's batch system wants to be asked, where that is not as usual."""
    if not isinstance(content, dict):
        raise InvalidMachine(f"{name}.yml: submit is {content!r}; it should hold keys")
    _refuse_others(name, "submit", content, {field.name for field in fields(SubmitForm)})
    always = content.get("always")
    if always is not None:
        always = _texts(name, content, "always")
    for key in ("queue_option", "project_option", "nodes"):
        if not isinstance(content.get(key), str | None):
            raise InvalidMachine(f"{name}.yml: submit.{key} is {content[key]!r}; it should be a text")
    return SubmitForm(**{**content, "always": always})


def _facts(name: str, content: object) -> NodeFacts:
    if not isinstance(content, dict):
        raise InvalidMachine(f"{name}.yml: facts is {content!r}; it should hold keys")
    _refuse_others(name, "facts", content, {field.name for field in fields(NodeFacts)})
    counts = {k: _count(name, f"facts.{k}", content[k]) for k in _COUNTED if content.get(k) is not None}
    maker = content.get("gpu_maker", NodeFacts.gpu_maker)
    if maker not in VARIABLE_OF:
        raise InvalidMachine(f"{name}.yml: facts.gpu_maker is {maker!r}; there are: {', '.join(VARIABLE_OF)}")
    reserved, gpus = content.get("reserved_cores", []), content.get("gpus", [])
    if not isinstance(reserved, list) or not all(isinstance(core, int) for core in reserved):
        raise InvalidMachine(
            f"{name}.yml: facts.reserved_cores is {reserved!r}; it should be a list of numbers"
        )
    if not isinstance(gpus, list):
        raise InvalidMachine(f"{name}.yml: facts.gpus is {gpus!r}; it should be a list of names")
    return NodeFacts(reserved_cores=tuple(reserved), gpus=tuple(map(str, gpus)), gpu_maker=maker, **counts)


_COUNTED = ("cores", "threads_per_core", "mem_mb")
