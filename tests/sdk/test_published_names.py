"""Every module path and name that scripts for 0.7 import resolves, or tells what to write instead."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import balsam
from balsam.api import ApplicationDefinition, BatchJob, JobState, Site
from balsam.core import states
from balsam.sdk import jobs

HERE = {
    "balsam.schemas.job": "JobBulkUpdate JobCreate JobOrdering JobOut JobState JobTransferItem JobUpdate "
    "PaginatedJobsOut ServerJobCreate serialize",
    "balsam.schemas.batchjob": "BatchJobBulkUpdate BatchJobCreate BatchJobOrdering BatchJobOut "
    "BatchJobPartition BatchJobState BatchJobUpdate JobMode PaginatedBatchJobOut SchedulerBackfillWindow "
    "SchedulerJobLog SchedulerJobStatus",
    "balsam.schemas.transfer": "PaginatedTransferItemOut TransferDirection TransferItemBulkUpdate "
    "TransferItemOut TransferItemState TransferItemUpdate",
    "balsam.schemas.serializer": "DeserializeError EmptyPayload SerializeError deserialize get_source "
    "raise_from_serialized serialize serialize_exception",
    "balsam.schemas.apps": "AppCreate AppOut AppParameter AppUpdate PaginatedAppsOut TransferSlot",
    "balsam.schemas.site": "AllowedQueue PaginatedSitesOut SchedulerBackfillWindow SchedulerJobStatus "
    "SiteCreate SiteOut SiteUpdate",
    "balsam.schemas.session": "JobState PaginatedSessionsOut SessionAcquire SessionCreate SessionOut",
    "balsam.schemas.user": "UserCreate UserOut",
    "balsam.schemas.logevent": "EventOrdering LogEventOut PaginatedLogEventOut",
    "balsam.schemas": "MAX_PAGE_SIZE MAX_ITEMS_PER_BULK_OP",
    "balsam.client.urls": "CHECK_LOGIN_FLOWS DEVICE_LOGIN DEVICE_TOKEN PASSWORD_LOGIN PASSWORD_REGISTER",
    "balsam.cmdline": "main",
    "balsam.util": "SigHandler config_root_logger parse_to_utc validate_log_level",
    "balsam._api.models": "App BatchJob EventLog Job JobManager JobQuery Query Session Site TransferItem",
    "balsam._api.app": "ApplicationDefinition",
    "balsam._api.model": "BalsamModel",
    "balsam._api.query": "Query",
    "balsam._api.manager": "Manager",
    "balsam.config": "ClientSettings InvalidSettings Settings SiteConfig balsam_home",
    "balsam.config.config": "ClientSettings InvalidSettings Settings SiteConfig balsam_home",
    "balsam.config.site_builder": "ClientSettings InvalidSettings Settings SiteConfig",
    "balsam.shared_apps.demo": "Adder Hello",
    "balsam.shared_apps.demo.adder": "Adder",
    "balsam.shared_apps.demo.hello": "Hello",
    "balsam": "__version__ config_root_logger",
}
GONE = {
    "balsam.platform.app_run": ("MPICHRun", "docs/machines.md"),
    "balsam.platform.compute_node": ("DefaultNode", "docs/machines.md"),
    "balsam.platform.scheduler": ("SlurmScheduler", "BatchJob"),
    "balsam.platform.transfer": ("GlobusTransferInterface", "TransferItem"),
    "balsam.site.service": ("ElasticQueueService", "settings.yml"),
    "balsam.config.site_builder": ("new_site_setup", "balsam site init"),
}


@pytest.mark.parametrize(("module", "names"), HERE.items())
def test_published_modules_have_their_names(module: str, names: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in names.split() if not hasattr(found, name)] == []


@pytest.mark.parametrize(("module", "name", "remedy"), [(m, n, r) for m, (n, r) in GONE.items()])
def test_what_is_no_more_tells_what_to_write_instead(module: str, name: str, remedy: str) -> None:
    found = importlib.import_module(module)
    with pytest.raises(AttributeError, match=name) as caught:
        getattr(found, name)
    assert remedy in str(caught.value)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = found.nonsense


def test_published_names_are_the_same_objects() -> None:
    models = importlib.import_module("balsam._api.models")
    schemas = importlib.import_module("balsam.schemas.job")
    assert models.Job is jobs.Job
    assert schemas.JobState is states.JobState
    assert importlib.import_module("balsam.config.config").SiteConfig is balsam.config.SiteConfig


def test_importing_them_does_no_work() -> None:
    names = [name for name in HERE if not name.startswith(("balsam.cmdline", "balsam._api"))]
    code = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\n"
    code += "print([name for name in ('fastapi', 'sqlalchemy', 'yaml') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_states_are_told_from_other_texts() -> None:
    assert JobState.is_valid("RUNNING") and JobState.is_valid(JobState.running)
    assert not JobState.is_valid("nonsense") and not JobState.is_valid(None)


def test_classes_tell_what_was_found_of_them() -> None:
    class Told(ApplicationDefinition):
        site = 1
        command_template = "echo {{ x }} {{ y }}"

    class Declared(ApplicationDefinition):
        site = 1
        command_template = "echo {{ x }} {{ y }}"
        parameters = {"y": {"required": False, "default": "q"}}

    class Child(Declared):
        command_template = "echo {{ y }}"

    assert Told.parameters == {name: {"required": True, "default": None, "help": ""} for name in ("x", "y")}
    assert Declared._default_params == {"y": "q"}
    assert list(Child.interface()) == ["y"]
    assert Told.source_code.startswith("class Told(ApplicationDefinition):\n    site = 1\n")
    assert ApplicationDefinition.parameters == {}


def test_constructors_take_values_by_the_published_places() -> None:
    """The kind: a call that gives values without names has a meaning, and it is the published one."""
    tags, data, parameters = {"k": "v"}, {"x": 1}, {"n": 2}
    job = jobs.Job(
        "w",
        7,
        tags,
        data,
        None,
        2,
        3,
        4,
        5,
        {"a": "b"},
        6.0,
        7,
        8,
        "theta",
        parameters,
        [9],
        {"in": "desk:/x"},
    )
    assert (job.tags, job.data, job.num_nodes, job.ranks_per_node) == (tags, data, 2, 3)
    assert (job.threads_per_rank, job.threads_per_core, job.gpus_per_rank) == (4, 5, 6.0)
    assert (job.node_packing_count, job.wall_time_min, job.parent_ids) == (7, 8, {9})
    assert (job.launch_params, job.get_parameters(), set(job.transfers)) == ({"a": "b"}, parameters, {"in"})
    batch_job = BatchJob(1, 5, "mpi", 3, "project", "queue", {"o": "p"}, tags)
    assert (batch_job.optional_params, batch_job.filter_tags) == ({"o": "p"}, tags)
    assert Site("name", "/path", None, None, None, {"o": "p"}, ["project"]).allowed_projects == ["project"]
    with pytest.raises(TypeError, match="Job got 'tags' twice"):
        jobs.Job("w", 7, tags, tags=tags)
    with pytest.raises(TypeError, match="BatchJob takes at most 3 values"):
        BatchJob(1, 5, "mpi", 3, "project", "queue", {}, {}, None, 1)
