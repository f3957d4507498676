"""What can be known of a job or an allocation before anything runs: values in, a sentence or None out.

Where a client asks for strict handling (RFC 7240: `Prefer: handling=strict`, as ours does) the sentence is a
refusal; else the thing is accepted, and `why` repeats the sentence as a doubt. What a site or an app has not
told us is no reason to doubt.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from balsam.core import allocations
from balsam.core.plural import counted
from balsam.schemas.batch_jobs import BatchJobCreate
from balsam.schemas.sites import AllowedQueue

ANY_NAME = "**"  # among an app's parameters: its run() takes whatever it is given

MAX_NAME_BYTES = 255  # of a file or folder

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a site has at most, for any job.

    `queues`: nodes and minutes of each queue, `nodes`: GPUs and MB of each kind of node; empty where nobody
    has told.
    """

    queues: tuple[tuple[int, int], ...]
    nodes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, site: Row, nodes: Collection[Row] = ()) -> Limits:
        """`nodes`: kinds that serve where the site has told of none."""
        return cls(
            queues=tuple((q["max_nodes"], q["max_walltime"]) for q in site["allowed_queues"].values()),
            nodes=tuple((node["gpus"], node["mem_mb"]) for node in site["nodes"] or nodes),
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """What an app and its site take; made once for all jobs of the app.

    `known`: the names of all parameters, None where there may be others. `locations`: where its site stages
    from and to; `moves_files`: whether its agent does, None where it has not told.
    """

    app: str
    needed: frozenset[str]
    known: frozenset[str] | None
    defaults: Mapping[str, str | None]
    slots: Mapping[str, Row]
    needed_slots: frozenset[str]
    locations: frozenset[str]
    limits: Limits
    site: str = ""
    moves_files: bool | None = None

    @classmethod
    def of(cls, app: Row, site: Row) -> Terms:
        parameters: dict[str, Any] = app["parameters"]
        # Without the list of hooks an old client made the app: it describes parameters less exactly.
        exact = app["hooks"] is not None
        open_ended = not exact or ANY_NAME in parameters
        return cls(
            app=app["name"],
            needed=frozenset(n for n, spec in parameters.items() if exact and spec["required"]),
            known=None if open_ended else frozenset(parameters),
            defaults={n: None if spec["required"] else spec["default"] for n, spec in parameters.items()},
            slots=app["transfers"],
            needed_slots=frozenset(name for name, slot in app["transfers"].items() if slot["required"]),
            locations=frozenset(site["transfer_locations"]),
            limits=Limits.of(site),
            site=site["name"],
            moves_files=site["moves_files"],
        )


def doubt(terms: Terms, job: Row, slots: Collection[str]) -> str | None:
    """Why a job can't do what it is for, as a sentence; `slots`: the transfers that it names."""
    sentence = _workdir(job.get("workdir", "")) or stages_nothing(terms, slots)
    if sentence is not None:
        return sentence
    given = job["parameters_json"]
    if given is not None and not (
        terms.needed <= given.keys() and (terms.known is None or given.keys() <= terms.known)
    ):
        return _parameters(terms, given)
    if terms.needed_slots and not terms.needed_slots <= set(slots):
        missing = sorted(terms.needed_slots.difference(slots))
        return f"app {terms.app} needs transfers for: {', '.join(missing)}"
    if job["num_nodes"] < 1:
        return f"num_nodes is {job['num_nodes']}: a job takes one node at least, or a share of it"
    ranks = job["ranks_per_node"]
    gpus, mem_mb = ranks * job["gpus_per_rank"], ranks * job["mem_mb_per_rank"]
    return too_big(terms.limits, job["num_nodes"], job["wall_time_min"], gpus, mem_mb)


def _workdir(path: str) -> str | None:
    """What file systems refuse, and what only a shell would have understood."""
    if path.isascii() and path.isprintable() and len(path) <= MAX_NAME_BYTES and not path.startswith("~"):
        return None
    if path.startswith("~"):
        return f"the workdir {path!r} begins with '~', which only shells read as a home folder"
    if any(ord(char) < 32 or ord(char) == 127 for char in path):
        return f"the workdir {path!r} holds a control character, such as the end of a line"
    longest = max((len(part.encode("utf-8", "replace")) for part in path.split("/")), default=0)
    if longest > MAX_NAME_BYTES:
        return (
            f"a name in the workdir {path[:60]!r}... takes {longest} bytes, and file systems take "
            f"{MAX_NAME_BYTES} at most"
        )
    return None


def stages_nothing(terms: Terms, slots: Collection[str]) -> str | None:
    """Why a job that names transfers, or whose app needs some, would wait for ever; None if it would not."""
    named = sorted(terms.needed_slots.union(slots))
    if terms.moves_files is not False or not named:
        return None
    return (
        f"the agent of site {terms.site} moves no files (this release has no transfers yet), and the job "
        f"would wait for {', '.join(named)} of app {terms.app} for ever: put the files where the job finds "
        "them, and take the transfers out of the app and the job"
    )


def too_big(limits: Limits, nodes: int, minutes: int, gpus: float, mem_mb: int) -> str | None:
    """Why no queue or no node of a site is enough for a job; GPUs and MB are those of one node."""
    if (nodes > 1 or minutes) and limits.queues and not _some(limits.queues, nodes, minutes):
        return _queues(limits, nodes, minutes)
    if (gpus or mem_mb) and limits.nodes and not _some(limits.nodes, gpus - 1e-9, mem_mb):
        return _nodes(limits, gpus, mem_mb)
    return None


def _some(limits: Collection[tuple[int, int]], first: float, second: float) -> bool:
    return any(first <= most and second <= most_too for most, most_too in limits)


def _parameters(terms: Terms, given: Collection[str]) -> str:
    missing = sorted(terms.needed.difference(given))
    surplus = [] if terms.known is None else sorted(set(given) - terms.known)
    faults = [f"needs {', '.join(map(repr, missing))}"] * bool(missing)
    faults += [f"does not take {', '.join(map(repr, surplus))}"] * bool(surplus)
    told = [
        name if default is None else f"{name} (default {default})" for name, default in terms.defaults.items()
    ]
    return f"app {terms.app} {' and '.join(faults)}; its parameters are: {', '.join(told) or 'none'}"


def _queues(limits: Limits, nodes: int, minutes: int) -> str:
    takes = " or ".join(
        f"{counted(most, 'node')} for {counted(most_min, 'minute')}" for most, most_min in limits.queues
    )
    return (
        f"it needs {counted(nodes, 'node')} for {counted(minutes, 'minute')}, and the queues of its site "
        f"take at most {takes}"
    )


def _nodes(limits: Limits, gpus: float, mem_mb: int) -> str:
    has = " or ".join(f"{counted(most, 'GPU')} and {most_mb} MB" for most, most_mb in limits.nodes)
    return f"it asks for {counted(gpus, 'GPU')} and {mem_mb} MB per node, and a node of its site has {has}"


def slots_of(terms: Terms, items: Collection[Row]) -> set[str]:
    """The slots that a job's transfer items fill: the items remember the paths, not the names."""
    filled = {(item["direction"], item["local_path"]) for item in items}
    return {name for name, slot in terms.slots.items() if (slot["direction"], slot["local_path"]) in filled}


def allocation_doubt(want: BatchJobCreate, site: Row) -> str | None:
    """Why the site's agent will not submit a BatchJob; a site that told of no queues may have any."""
    queues = {name: AllowedQueue.model_validate(limits) for name, limits in site["allowed_queues"].items()}
    if not queues:
        return allocations.wrong_partitions(want)
    return allocations.refusal(want, queues, site["allowed_projects"], site["optional_batch_job_params"])
