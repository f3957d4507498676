"""Machines' files: those that ship, and what is wrong with others."""

from __future__ import annotations

from typing import Any

import pytest

from balsam.platform.machine import (
    InvalidMachine,
    UnknownMachine,
    load_machine,
    machine_names,
    nodes_by_facts,
    parse_machine,
)

PLAIN: dict[str, Any] = {
    "description": "a machine",
    "scheduler": "local",
    "node": "local",
    "mpi_launcher": "mpich",
    "projects": ["p"],
    "queues": {"q": {"max_nodes": 1, "max_walltime": 60, "max_queued_jobs": 1}},
}


def test_machines_that_ship_are_complete() -> None:
    assert {"local", "slurm", "polaris", "aurora", "perlmutter"} <= set(machine_names())
    aurora = load_machine("aurora")
    assert (aurora.scheduler, aurora.node, aurora.mpi_launcher) == ("pbs", "pbs", "pals")
    assert len(aurora.facts.gpus) == 12


def test_a_machine_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(UnknownMachine, match=r"'moon'; there are: aurora, .*local, "):
        load_machine("moon")


def test_what_a_node_holds_is_known_before_there_is_one() -> None:
    """Else a job that fits no node waits for the first allocation to hear of it."""
    [node] = nodes_by_facts("perlmutter") or []
    assert node.kind == {"cpus": 64, "gpus": 4, "mem_mb": 229992}
    [aurora] = nodes_by_facts("aurora") or []
    assert len(aurora.cpus) == 104 - len(load_machine("aurora").facts.reserved_cores)
    assert nodes_by_facts("slurm") is nodes_by_facts("local") is None


@pytest.mark.parametrize(
    ("submit", "sentence"),
    [
        ([], "m.yml: submit is"),
        ({"queue": "q"}, "m.yml: submit has the unknown key 'queue'"),
        ({"queue_option": 3}, "m.yml: submit.queue_option is 3"),
        ({"always": "-x"}, "m.yml: always is '-x'; it should be a list of texts"),
    ],
)
def test_how_a_machine_is_asked_is_checked(submit: Any, sentence: str) -> None:
    with pytest.raises(InvalidMachine, match=sentence):
        parse_machine("m", {**PLAIN, "submit": submit or [1]}, "")


def test_a_plain_file_is_taken() -> None:
    assert parse_machine("m", PLAIN, "").queues["q"].max_walltime == 60


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"node": "moon"}, "m.yml: node is 'moon'; there are: cobalt, flux, local"),
        ({"mpi_launcher": "aprun"}, "m.yml: there is no MPI launcher 'aprun' here"),
        ({"scheduler": "cobalt"}, "m.yml: scheduler is 'cobalt'; there are: local, slurm, pbs, lsf"),
        ({"description": ""}, "m.yml: description is ''; it should be a text"),
        ({"projects": "p"}, "m.yml: projects is 'p'; it should be a list of texts"),
        ({"queues": {}}, "m.yml: queues is {}; it should name at least one queue"),
        ({"queues": {"q": None}}, "m.yml: queue q is None; it should have max_nodes"),
        ({"queues": {"q": {"max_nodes": 0}}}, r"m.yml: queues\.q\.max_nodes is 0; it should be a number"),
        (
            {"queues": {"q": {"nodes": 1}}},
            "m.yml: queue q has the unknown key 'nodes'; it may have max_nodes",
        ),
        ({"quues": {}}, "m.yml: it has the unknown key 'quues'; it may have description"),
        ({"facts": [1]}, r"m.yml: facts is \[1\]; it should hold keys"),
        ({"facts": {"cpus": 1}}, "m.yml: facts has the unknown key 'cpus'"),
        ({"facts": {"cores": "many"}}, r"m.yml: facts\.cores is 'many'; it should be a number"),
        ({"facts": {"gpu_maker": "me"}}, r"m.yml: facts\.gpu_maker is 'me'; there are: nvidia"),
        ({"facts": {"gpus": 4}}, r"m.yml: facts\.gpus is 4; it should be a list of names"),
        (
            {"facts": {"reserved_cores": 4}},
            r"m.yml: facts\.reserved_cores is 4; it should be a list of numbers",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_a_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidMachine, match=sentence):
        parse_machine("m", PLAIN | change, "")
