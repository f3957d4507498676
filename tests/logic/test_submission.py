"""What is known of a job before it runs, as values."""

from __future__ import annotations

import time
from typing import Any

import pytest

from balsam.logic.submission import Terms, allocation_doubt, doubt, slots_of
from balsam.schemas.batch_jobs import BatchJobCreate

IN = {"required": True, "direction": "in", "local_path": "in.dat"}
OUT = {"required": False, "direction": "out", "local_path": "out.dat"}
NEEDED = {"required": True, "default": None}
OPTIONAL = {"required": False, "default": "2"}
APP = {
    "name": "Sim",
    "parameters": {"a": NEEDED, "b": OPTIONAL},
    "transfers": {"source": IN, "sink": OUT},
    "hooks": [],
}
SITE: dict[str, Any] = {
    "name": "laptop",
    "moves_files": None,
    "allowed_queues": {
        "short": {"max_nodes": 8, "max_walltime": 30, "max_queued_jobs": 1},
        "long": {"max_nodes": 2, "max_walltime": 600, "max_queued_jobs": 1},
    },
    "allowed_projects": ["p"],
    "optional_batch_job_params": {"shout": "no"},
    "transfer_locations": {},
    "nodes": [{"cpus": 8, "gpus": 4, "mem_mb": 1000}, {"cpus": 8, "gpus": 0, "mem_mb": 9000}],
}
UNTOLD = {**SITE, "allowed_queues": {}, "nodes": None}


def job(**values: Any) -> dict[str, Any]:
    usual = {"num_nodes": 1, "wall_time_min": 0, "ranks_per_node": 1, "gpus_per_rank": 0.0}
    return {**usual, "mem_mb_per_rank": 0, "parameters_json": {"a": 1}, **values}


def of(app: dict[str, Any], site: dict[str, Any] = SITE, **values: Any) -> str | None:
    return doubt(Terms.of({**APP, **app}, site), job(**values), {"source"})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, None),
        ({"parameters_json": {"a": 1, "b": 2}}, None),
        ({"parameters_json": None}, None),  # pickled: nobody can look inside
        (
            {"parameters_json": {"b": 1, "c": 2}},
            "app Sim needs 'a' and does not take 'c'; its parameters are: a, b (default 2)",
        ),
        ({"num_nodes": 8, "wall_time_min": 30}, None),
        ({"num_nodes": 2, "wall_time_min": 600}, None),
        (
            {"num_nodes": 3, "wall_time_min": 31},
            "it needs 3 nodes for 31 minutes, and the queues of its site take at most "
            "8 nodes for 30 minutes or 2 nodes for 600 minutes",
        ),
        ({"num_nodes": 0}, "num_nodes is 0: a job takes one node at least, or a share of it"),
        ({"ranks_per_node": 8, "gpus_per_rank": 0.5, "mem_mb_per_rank": 125}, None),
        ({"mem_mb_per_rank": 9000}, None),
        (
            {"ranks_per_node": 2, "gpus_per_rank": 1, "mem_mb_per_rank": 600},
            "it asks for 2 GPUs and 1200 MB per node, and a node of its site has "
            "4 GPUs and 1000 MB or 0 GPUs and 9000 MB",
        ),
    ],
)
def test_a_job_that_can_not_run_is_told_by_a_sentence(values: dict[str, Any], sentence: str | None) -> None:
    assert of({}, **values) == sentence


def test_what_nobody_told_is_no_reason_to_doubt() -> None:
    anything = {"num_nodes": 999, "wall_time_min": 9999, "gpus_per_rank": 64, "mem_mb_per_rank": 10**9}
    assert of({}, UNTOLD, **anything) is None
    surplus = {"parameters_json": {"x": 1}}
    assert of({"hooks": None}, **surplus) is None  # an app of the published client
    assert of({"parameters": {"**": OPTIONAL}}, **surplus) is None  # run(**kwargs)
    assert of({"parameters": {"a": NEEDED, "**": OPTIONAL}}, **surplus) is not None


def test_a_needed_transfer_is_missed_and_found_again_by_its_paths() -> None:
    terms = Terms.of(APP, SITE)
    assert doubt(terms, job(), []) == "app Sim needs transfers for: source"
    item = {"direction": "in", "local_path": "in.dat"}
    assert slots_of(terms, [item]) == {"source"} and slots_of(terms, []) == set()
    assert doubt(terms, job(), slots_of(terms, [item])) is None


def batch_job(**values: Any) -> BatchJobCreate:
    usual = {"num_nodes": 1, "wall_time_min": 10, "job_mode": "mpi", "site_id": 1, "project": "p"}
    return BatchJobCreate.model_validate({**usual, "queue": "long", **values})


PART = {"job_mode": "mpi", "num_nodes": 1}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, None),
        ({"queue": "fast"}, "has no queue 'fast'; it has short, long"),
        ({"project": "q"}, "has no project 'q'; it has p"),
        ({"num_nodes": 3}, "3 nodes are more than queue long takes: 2"),
        ({"wall_time_min": 601}, "601 minutes are more than queue long takes: 600"),
        ({"optional_params": {"x": "1"}}, "has no optional parameter x; it has shout"),
        ({"num_nodes": 2, "partitions": [PART]}, "the partitions have 1 node together, and num_nodes is 2"),
        ({"num_nodes": 2, "partitions": [PART, PART]}, None),
    ],
)
def test_an_allocation_that_no_queue_takes_is_told_by_a_sentence(
    values: dict[str, Any], told: str | None
) -> None:
    sentence = allocation_doubt(batch_job(**values), SITE)
    assert sentence is None if told is None else told in str(sentence)


def test_a_site_that_told_of_no_queues_may_have_any() -> None:
    assert allocation_doubt(batch_job(queue="any", project="any", num_nodes=10**6), UNTOLD) is None
    assert "together" in str(allocation_doubt(batch_job(num_nodes=2, partitions=[PART]), UNTOLD))


def test_a_job_is_judged_within_microseconds() -> None:
    terms, asked = Terms.of(APP, SITE), job(num_nodes=2, wall_time_min=9, gpus_per_rank=1)
    best = min(_seconds(terms, asked) for _ in range(5))
    assert best / 1000 < 20e-6  # 2 us on an idle machine; 10,000 jobs a second are created through it


def _seconds(terms: Terms, asked: dict[str, Any]) -> float:
    began = time.perf_counter()
    for _ in range(1000):
        doubt(terms, asked, {"source"})
    return time.perf_counter() - began
