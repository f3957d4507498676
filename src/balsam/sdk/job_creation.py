"""From jobs as users write them to the bodies that create them: apps found, parameters checked."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from balsam.client.jobs import create_jobs
from balsam.core.limits import MAX_ITEMS_PER_BULK_OP
from balsam.schemas import AppParameter, JobTransferItem
from balsam.sdk import app_interface, command_template, declared_types, parameters, same_workdir
from balsam.sdk.apps import App
from balsam.sdk.fields import Kind

if TYPE_CHECKING:
    from balsam.client.transport import Client
    from balsam.sdk.application import ApplicationDefinition
    from balsam.sdk.jobs import Job

# What submit() takes for the job itself, with its defaults: no parameter of an app can be given by these
# names.
SUBMIT_FIELDS: dict[str, Any] = {
    "workdir": None,
    "tags": None,
    "data": None,
    "return_code": None,
    "launch_params": None,
    "num_nodes": 1,
    "ranks_per_node": 1,
    "threads_per_rank": 1,
    "threads_per_core": 1,
    "gpus_per_rank": 0,
    "node_packing_count": 1,
    "wall_time_min": 0,
    "parent_ids": (),
    "transfers": None,
    "save": True,
}
MAX_CHARS_PER_REQUEST = 16_000_000


def create(client: Client, jobs: list[Job]) -> None:
    """Creates the jobs that are not saved yet, in as few requests as the limits allow.

    Those for which there is a job already that is to be taken (`if_exists`) become that job.
    """
    new = [job for job in jobs if not job.is_saved]
    bodies = _bodies(client, new)
    _take_earlier(client, new, bodies)
    if any(job.is_saved for job in new):
        bodies = [body for job, body in zip(new, bodies, strict=True) if not job.is_saved]
        new = [job for job in new if not job.is_saved]
    done = 0
    for part in _parts(bodies):
        asked = time.monotonic()
        rows = create_jobs(client, part)
        for job, row in zip(new[done : done + len(part)], rows, strict=True):
            job._client = client
            job._load(row)
            job._known_at = asked
        done += len(part)
    same_workdir.warn(client, new)


def _take_earlier(client: Client, new: list[Job], bodies: list[dict[str, Any]]) -> None:
    taken = set[tuple[int, str]]()
    for job, body in zip(new, bodies, strict=True):
        if job._if_exists not in ("error", "skip"):
            continue
        key = (body["app_id"], str(job.workdir))
        if key in taken:
            raise same_workdir.WorkdirTaken(
                f"the workdir {key[1]!r} is given twice for one app: each job needs its own"
            )
        taken.add(key)
        found = same_workdir.earlier(client, job, body["app_id"], job._if_exists)
        if found is not None:
            job._client = client
            job._load(found._row)


def check_against_class(app: object, given: Mapping[str, Any], slots: set[str]) -> None:
    """Where the app is named by its class: raises for parameters and transfers that do not fit."""
    from balsam.sdk.application import ApplicationDefinition

    if isinstance(app, type) and issubclass(app, ApplicationDefinition):
        parameters.check(app.__name__, given, app.interface())
        _check_types(app, given)
        check_command_values(app, given)
        app_interface.check_transfers(app.__name__, slots, app.slots())


def _check_types(app: type[ApplicationDefinition], given: Mapping[str, Any]) -> None:
    if app.run is None:
        return
    try:
        declared_types.check(app.run, given)
    except declared_types.NotOfType as exc:
        raise parameters.ParameterError(f"the app {app.__name__} can't take {exc}") from exc


def refuse_hidden(app: str, taken: Mapping[str, AppParameter], own: Mapping[str, Any]) -> None:
    """Raises ParameterError for a parameter that submit() can't give, since the job has a field of its name.

    An optional one keeps its default, where the job's field was not given either. `own`: the job's fields.
    """
    for name, parameter in taken.items():
        if name not in SUBMIT_FIELDS:
            continue
        if parameter.required or own.get(name, SUBMIT_FIELDS[name]) != SUBMIT_FIELDS[name]:
            raise parameters.ParameterError(
                f"the app {app} has a parameter {name!r}, and {name!r} is a field of each job's own, which "
                f"submit() sets: rename the parameter, or give it by Job(workdir, {app}, "
                f"parameters={{{name!r}: ...}})"
            )


def check_command_values(app: type[ApplicationDefinition], given: Mapping[str, Any]) -> None:
    """Raises ParameterError for values that no command can be given, where the app's template names them."""
    if app.command_template is None or "get_arg_str" in app.overridden_hooks():
        return
    named = command_template.names(app.command_template)
    for name, value in given.items():
        fault = command_template.unfit(value) if name in named else None
        if fault:
            raise parameters.ParameterError(f"the parameter {name!r} of {app.__name__} {fault}")


def app_class(client: Client, ref: Any, site_name: str | None) -> type[ApplicationDefinition]:
    """The class of an app given by id, name, record or class."""
    from balsam.sdk.application import ApplicationDefinition

    if isinstance(ref, type) and issubclass(ref, ApplicationDefinition):
        return ref
    if isinstance(ref, App):
        return ApplicationDefinition.from_serialized(ref)
    apps = App.objects.using(client)
    return ApplicationDefinition.from_serialized(
        apps.get(id=ref) if isinstance(ref, int) else apps.named(ref, site_name)
    )


def _bodies(client: Client, jobs: list[Job]) -> list[dict[str, Any]]:
    found: dict[Any, int] = {}
    bodies = []
    for job in jobs:
        ref = (job.app_id, job._site_name)
        if ref not in found:
            found[ref] = _app_id(client, job)
        fields = parameters.fields_of(job._parameters, job.workdir)
        bodies.append({**job.creation_body(), "app_id": found[ref], **fields})
    return bodies


def _app_id(client: Client, job: Job) -> int:
    ref: Any = job.app_id
    if isinstance(ref, App):
        return ref.id
    if isinstance(ref, str):
        app = App.objects.using(client).named(ref, job._site_name)
        if app.hooks is not None:  # older clients describe parameters less exactly
            parameters.check(app.name, job._parameters, app.parameters)
            app_interface.check_transfers(app.name, set(job.transfers), app.transfers)
        return app.id
    if isinstance(ref, type):
        number: int = ref.synced_id(client)  # type: ignore[attr-defined]
        return number
    return int(ref)


def _parts(bodies: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    part: list[dict[str, Any]] = []
    chars = 0
    for body in bodies:
        size = 500 + 2 * len(body["serialized_parameters"])
        if part and (len(part) == MAX_ITEMS_PER_BULK_OP or chars + size > MAX_CHARS_PER_REQUEST):
            yield part
            part, chars = [], 0
        part.append(body)
        chars += size
    if part:
        yield part


def _transfers(value: Mapping[str, Any]) -> dict[str, JobTransferItem]:
    return {slot: _transfer(item) for slot, item in value.items()}


def _transfer(item: Any) -> JobTransferItem:
    if isinstance(item, str):
        alias, colon, path = item.partition(":")
        if not colon:
            raise ValueError(f"{item!r} is no transfer: write `location:path`")
        return JobTransferItem(location_alias=alias, path=path)
    if isinstance(item, dict):
        return JobTransferItem(location_alias=item["location_alias"], path=str(item["path"]))
    return JobTransferItem.model_validate(item)


TRANSFERS = Kind(_transfers, lambda value: {slot: _transfer(i).model_dump() for slot, i in value.items()})
