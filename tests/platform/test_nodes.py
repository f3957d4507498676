"""The nodes of an allocation, told from what its batch system says."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from balsam.platform.host_list import HostListError, expand_hosts, expand_number_ranges, expand_repeats
from balsam.platform.machine import detect_nodes, nodes_name
from balsam.platform.nodes import Node, NodeFacts, UnknownNodes, detect, detect_local, group_threads

FACTS = NodeFacts(cores=4, threads_per_core=2, gpus=("0", "1"), mem_mb=1000)
SLURM = {  # of a job on four nodes with 4 GPUs each, Slurm 22.05
    "SLURM_JOB_NODELIST": "nid[0001-0004]",
    "SLURM_JOB_CPUS_PER_NODE": "8(x4)",
    "SLURM_GPUS_ON_NODE": "4",
    "SLURM_JOB_GPUS": "0,1,2,3",
    "SLURM_MEM_PER_NODE": "64000",
}


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("nid0001", ["nid0001"]),
        ("nid[0001-0003,0007],login1", ["nid0001", "nid0002", "nid0003", "nid0007", "login1"]),
        ("nid[9-11]", ["nid9", "nid10", "nid11"]),
        ("n[08-10]-ib,n2", ["n08-ib", "n09-ib", "n10-ib", "n2"]),
        ("rack[1-2]node[1,3]", ["rack1node1", "rack1node3", "rack2node1", "rack2node3"]),
        ("a.site.org,b.site.org\n", ["a.site.org", "b.site.org"]),
    ],
)
def test_host_lists_are_expanded_in_their_order(text: str, hosts: list[str]) -> None:
    assert expand_hosts(text) == hosts


@pytest.mark.parametrize(
    "text",
    [
        "nid[1-",
        "nid1]",
        "nid[a-b]",
        "nid[4-1]",
        "nid[]",
        "a,,b",
        "",
        "n[[1]]",
        "(null)",
        "None assigned",
        "a b",
    ],
)
def test_a_host_list_that_can_not_be_read_is_quoted(text: str) -> None:
    with pytest.raises(HostListError, match="'"):
        expand_hosts(text)


def test_counts_and_numbers_are_expanded() -> None:
    assert expand_repeats("64(x3),32") == [64, 64, 64, 32]
    assert expand_number_ranges("0-3,8\n") == [0, 1, 2, 3, 8]
    with pytest.raises(HostListError, match=r"'64x3' should read 64 or 64\(x3\)"):
        expand_repeats("64x3")


def test_slurm_tells_of_nodes_their_threads_gpus_and_memory() -> None:
    nodes = detect("slurm", SLURM, NodeFacts(threads_per_core=2))
    assert [node.name for node in nodes] == ["nid0001", "nid0002", "nid0003", "nid0004"]
    assert {(node.cpus, node.gpus, node.mem_mb) for node in nodes} == {
        ((0, 1, 2, 3), ("0", "1", "2", "3"), 64000)
    }
    assert nodes[0].siblings == {0: (4,), 1: (5,), 2: (6,), 3: (7,)}


def test_slurm_nodes_may_differ_and_give_memory_by_cpu() -> None:
    environ = {
        "SLURM_JOB_NODELIST": "a[1-3]",
        "SLURM_JOB_CPUS_PER_NODE": "64(x2),32",
        "SLURM_MEM_PER_CPU": "100",
    }
    nodes = detect("slurm", environ, NodeFacts(threads_per_core=1))
    assert [(len(node.cpus), node.mem_mb, node.gpus) for node in nodes] == [
        *((64, 6400, ()), (64, 6400, ())),
        (32, 3200, ()),
    ]


def test_pbs_names_nodes_as_often_as_they_have_slots_and_the_machine_knows_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "nodes"
    file.write_text("x3001.polaris\nx3001.polaris\nx3002.polaris\n")
    nodes = detect("pbs", {"PBS_NODEFILE": str(file)}, FACTS)
    assert nodes == [
        Node(name, (0, 1, 2, 3), ("0", "1"), 1000, {0: (4,), 1: (5,), 2: (6,), 3: (7,)})
        for name in ("x3001.polaris", "x3002.polaris")
    ]


def test_nodes_without_facts_are_like_this_one(tmp_path: Path) -> None:
    file = tmp_path / "nodes"
    file.write_text("a\n")
    (here,) = detect_local({})
    (node,) = detect("pbs", {"PBS_NODEFILE": str(file)})
    assert (node.name, node.cpus, node.mem_mb) == ("a", here.cpus, here.mem_mb)


def test_cobalt_has_a_file_or_ranges_of_numbers(tmp_path: Path) -> None:
    file = tmp_path / "nodes"
    file.write_text("thetagpu01\nthetagpu02\n")
    assert [n.name for n in detect("cobalt", {"COBALT_NODEFILE": str(file)}, FACTS)] == [
        "thetagpu01",
        "thetagpu02",
    ]
    names = [n.name for n in detect("cobalt", {"COBALT_PARTNAME": "3826-3827,4"}, FACTS)]
    assert names == ["nid03826", "nid03827", "nid00004"]


@pytest.mark.parametrize(
    ("hosts", "names"),
    [
        ("batch1 1 a01 42 a02 42 ", ["a01", "a02"]),
        ("a01 8 a02 8", ["a01", "a02"]),
        ("a01 1 a02 1", ["a01", "a02"]),
        ("a01 8", ["a01"]),
    ],
)
def test_lsf_may_list_a_node_that_only_starts_the_others(hosts: str, names: list[str]) -> None:
    assert [node.name for node in detect("lsf", {"LSB_MCPU_HOSTS": hosts}, FACTS)] == names


@pytest.mark.parametrize(
    ("kind", "environ", "sentence"),
    [
        (
            "moon",
            {},
            "no nodes of kind 'moon' here; there are: cobalt, flux, local, lsf, pbs, sge, slurm",
        ),
        ("slurm", {}, "SLURM_JOB_NODELIST is not set: this process was not started in a Slurm allocation"),
        ("slurm", SLURM | {"SLURM_JOB_NODELIST": "nid[1-"}, "its brackets do not match"),
        ("slurm", SLURM | {"SLURM_JOB_CPUS_PER_NODE": "8(x2)"}, "counts 2 nodes, .* names 4"),
        (
            "pbs",
            {"PBS_NODEFILE": "/nowhere-else/nodes"},
            "names /nowhere-else/nodes, which can't be read: No such file",
        ),
        ("pbs", {"PBS_NODEFILE": "/dev/null"}, "names /dev/null, which names no node"),
        ("cobalt", {}, "COBALT_PARTNAME is not set"),
        ("lsf", {}, "LSB_MCPU_HOSTS is not set"),
        ("sge", {}, "PE_HOSTFILE is not set"),
        ("flux", {}, "FLUX_URI is not set"),
        (
            "flux",
            {"FLUX_URI": "local:", "PATH": "/no"},
            "did not name the nodes: there is no program",
        ),
    ],
)
def test_an_environment_that_is_no_allocation_is_an_error(
    kind: str, environ: dict[str, str], sentence: str
) -> None:
    with pytest.raises(UnknownNodes, match=sentence):
        detect(kind, environ)


def test_the_local_node_has_the_cores_of_this_process_and_the_gpus_that_are_named() -> None:
    (node,) = detect("local", {"CUDA_VISIBLE_DEVICES": "1,3"})
    assert (node.name, node.gpus) == (socket.gethostname(), ("1", "3"))
    assert set(node.hardware_threads(node.cpus, 1024)) == os.sched_getaffinity(0)


def test_threads_of_one_core_count_as_one_cpu() -> None:
    pairs = {t: {t % 4, t % 4 + 4} for t in range(8)}
    assert group_threads([0, 1, 2, 4, 5, 7], pairs.__getitem__) == {0: (4,), 1: (5,), 2: (), 7: ()}
    node = Node("a", (0, 1, 2), (), 1, {0: (4,), 1: (5,)})
    assert node.hardware_threads((0, 1, 2), 1) == (0, 1, 2)
    assert node.hardware_threads((0, 1, 2), 2) == (0, 4, 1, 5, 2)


def test_a_machines_nodes_have_what_its_file_says(tmp_path: Path) -> None:
    file = tmp_path / "nodes"
    file.write_text("x4407c6s2b0n0\n")
    (node,) = detect_nodes("aurora", {"PBS_NODEFILE": str(file)})
    assert (len(node.cpus), len(node.gpus), node.gpu_maker) == (102, 12, "intel")
    assert node.hardware_threads((1, 53), 2) == (1, 105, 53, 157)
    assert not {0, 52} & set(node.cpus)


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("balsam.platform.compute_node.DefaultNode", "local"),
        ("balsam.platform.compute_node.compute_node.ComputeNode", "local"),
        ("balsam.platform.compute_node.PolarisNode", "polaris"),
        ("balsam.platform.compute_node.AuroraNode", "aurora"),
        ("slurm", "slurm"),
        ("perlmutter", "perlmutter"),
    ],
)
def test_nodes_are_named_by_kind_machine_or_older_path(name: str, nodes: str) -> None:
    assert nodes_name(name) == nodes


def test_unknown_nodes_are_an_error_that_lists_those_there_are() -> None:
    with pytest.raises(
        UnknownNodes, match=r"no nodes 'a\.SummitNode' here; there are: aurora, cobalt, flux, grid_engine"
    ):
        nodes_name("a.SummitNode")


def test_grid_engine_names_nodes_in_a_file_with_slots_and_queues(tmp_path: Path) -> None:
    file = tmp_path / "pe_hostfile"
    file.write_text("gen1 1 batch@gen1 UNDEFINED\ngen2 1 batch@gen2 UNDEFINED\ngen1 1 long@gen1 UNDEFINED\n")
    assert [node.name for node in detect("sge", {"PE_HOSTFILE": str(file)})] == ["gen1", "gen2"]


def test_flux_is_asked_for_nodes_and_may_repeat_one(tmp_path: Path) -> None:
    flux = tmp_path / "flux"
    flux.write_text('#!/bin/sh\n[ "$*" = "getattr hostlist" ] && echo "vm,vm,n[1-2]"\n')
    flux.chmod(0o755)
    environ = {"FLUX_URI": "local:///tmp/flux", "PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert [node.name for node in detect("flux", environ)] == ["vm", "n1", "n2"]
