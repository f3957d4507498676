"""What is searched, as values, and its submission as jobs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balsam.api import BatchJob, Job, JobMode
from examples.digits.apps import PickWinner, RankFamily, TrainDigits

LANES = ("a", "b")  # two allocations share the work: each takes the jobs with its tag
WALL_TIME_MIN = 5
JOBS_PER_NODE = 2
NEIGHBORS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13]
PENALTIES = [3e-4, 1e-3, 3e-3, 1e-2, 2e-2, 3e-2, 5e-2, 0.1, 0.2, 0.3, 1, 3]


@dataclass(frozen=True)
class Setting:
    """One point of the search. `fails`: it is a mistake that nothing mends."""

    family: str
    settings: dict[str, Any]
    fails: bool = False


@dataclass(frozen=True)
class Campaign:
    """The jobs of one experiment: `blocked` can never run, for its parent fails."""

    name: str
    jobs: list[Job]
    winner: Job
    blocked: Job

    @property
    def tags(self) -> dict[str, str]:
        return {"experiment": "digits", "campaign": self.name}


def settings(every: int = 1) -> list[Setting]:
    """About 150 settings of five families, a few of them mistakes; or of the good ones every nth."""
    return [*list(_good())[::every], *_mistakes()]


def _good() -> Iterator[Setting]:
    for c, gamma in itertools.product([0.3, 1, 3, 10, 30, 100], [3e-4, 5e-4, 7e-4, 1e-3, 2e-3]):
        yield Setting("svc", {"C": c, "gamma": gamma})
    for neighbors, weights, p in itertools.product(NEIGHBORS, ["uniform", "distance"], [1, 2]):
        yield Setting("knn", {"n_neighbors": neighbors, "weights": weights, "p": p})
    for c, solver in itertools.product(PENALTIES, ["lbfgs", "newton-cg"]):
        yield Setting("logistic", {"C": c, "solver": solver, "max_iter": 200})
    for trees, depth, features in itertools.product([8, 12, 16], [6, 9, 12, 15], ["sqrt", "log2", 0.1]):
        forest = {"n_estimators": trees, "max_depth": depth, "max_features": features, "random_state": 1}
        yield Setting("forest", forest)
    for c, intercept in itertools.product([3e-4, 1e-3, 3e-3, 1e-2, 3e-2], [1, 10]):
        yield Setting("linear-svc", {"C": c, "intercept_scaling": intercept, "random_state": 1})


def _mistakes() -> Iterator[Setting]:
    # The solver of the dual problem can't do an l1 penalty: TrainDigits.handle_error mends it.
    yield Setting("linear-svc", {"C": 0.02, "penalty": "l1", "dual": True, "random_state": 1})
    yield Setting("knn", {"n_neighbors": 5000}, fails=True)  # more neighbours than digits
    yield Setting("svc", {"C": 1, "kernel": "precomputed"}, fails=True)  # the digits are no kernel matrix
    yield Setting("forest", {"n_estimators": 0}, fails=True)  # a forest without trees


def submit_jobs(name: str, search: list[Setting]) -> Campaign:
    """Queues the whole campaign: training, one ranking per family, the winner, and one that can't run."""
    for app in (TrainDigits, RankFamily, PickWinner):
        app.sync()
    training = _submit_training(name, search)
    rankings = _submit_rankings(name, training)
    winner = PickWinner.submit(
        workdir=_workdir(name, "winner"),
        tags=_tags(name, "b", "pick"),
        parent_ids={job.id for job in [*training, *rankings]},
        parents_must="end",
        node_packing_count=JOBS_PER_NODE,
    )
    mistake = next(job for job, one in zip(training, search, strict=True) if one.fails)
    blocked = RankFamily.submit(
        workdir=_workdir(name, "blocked"), tags=_tags(name, "b", "blocked"), parent_ids={mistake.id}, top=1
    )
    return Campaign(name, [*training, *rankings, winner], winner, blocked)


def submit_allocation(name: str, lane: str, site_id: int) -> BatchJob:
    """Asks for one node that runs the jobs of one lane."""
    return BatchJob.objects.create(
        num_nodes=1,
        wall_time_min=WALL_TIME_MIN,
        job_mode=JobMode.serial,
        site_id=site_id,
        project="local",
        queue="local",
        filter_tags={"experiment": "digits", "campaign": name, "lane": lane},
    )


def _submit_training(name: str, search: list[Setting]) -> list[Job]:
    # Neighbours in the list go to different lanes, so that both get some of every family.
    lanes = itertools.cycle(LANES)
    jobs = [
        TrainDigits.submit(
            workdir=_workdir(name, f"{one.family}/{number:03}"),
            tags={**_tags(name, lane, "train"), "family": one.family},
            node_packing_count=JOBS_PER_NODE,
            save=False,
            family=one.family,
            settings=one.settings,
        )
        for number, (one, lane) in enumerate(zip(search, lanes))  # noqa: B905 - lanes is endless
    ]
    return list(Job.objects.bulk_create(jobs))


def _submit_rankings(name: str, training: list[Job]) -> list[Job]:
    parents: dict[str, set[int]] = {}
    for job in training:
        parents.setdefault(job.tags["family"], set()).add(job.id)
    jobs = [
        RankFamily.submit(
            workdir=_workdir(name, f"{family}/ranking"),
            tags={**_tags(name, "b", "rank"), "family": family},
            parent_ids=ids,
            parents_must="end",
            node_packing_count=JOBS_PER_NODE,
            save=False,
            top=5,
        )
        for family, ids in parents.items()
    ]
    return list(Job.objects.bulk_create(jobs))


def _tags(name: str, lane: str, step: str) -> dict[str, str]:
    return {"experiment": "digits", "campaign": name, "lane": lane, "step": step}


def _workdir(name: str, part: str) -> Path:
    return Path("digits") / name / part
