"""Forms that make jobs and ask for nodes, from what the app and the site say that they take."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from balsam.core import digest
from balsam.core.errors import BalsamError, Invalid, NotFound
from balsam.core.states import JobMode, ParentsMust
from balsam.logic import batch_jobs, jobs
from balsam.logic.once import Key, once
from balsam.schemas.batch_jobs import BatchJobCreate
from balsam.schemas.jobs import JobCreate
from balsam.schemas.types import Id
from balsam.server.context import Server, Srv
from balsam.server.dashboard import pages, words
from balsam.server.dashboard.choice import tags_in, whole, wire_tag
from balsam.server.dashboard.pages import Look, PageRoute
from balsam.server.dashboard.visitors import Acting, Form, Looking
from balsam.server.queries import pairs
from balsam.store import apps, names, sites
from balsam.store.owner import Owner

router = APIRouter(route_class=PageRoute, include_in_schema=False)
NUMBERS = (
    "num_nodes",
    "ranks_per_node",
    "threads_per_rank",
    "gpus_per_rank",
    "node_packing_count",
    "wall_time_min",
    "mem_mb_per_rank",
    "priority",
)
PARAMETER, PLACE, REMOTE, OPTION = "parameter:", "location:", "path:", "option:"
ChosenId = Annotated[Id | None, Query()]


@router.get("/ui/submit/job")
def job_form(request: Request, server: Srv, visitor: Looking, app_id: ChosenId = None) -> Response:
    return _job_form(request, server, visitor, app_id, {}, "")


def _job_form(
    request: Request, server: Server, visitor: Any, app_id: int | None, sent: dict[str, str], fault: str
) -> Response:
    def form(look: Look) -> dict[str, Any]:
        app = None if app_id is None else apps.get(look.conn, look.owner, app_id)
        if app_id is not None and app is None:
            raise NotFound("Not found")
        site = sites.get(look.conn, look.owner, app["site_id"]) if app else None
        return {
            "app": app,
            "site": site,
            "app_names": names.of_apps(look.conn, look.owner),
            "site_names": names.of_sites(look.conn, look.owner),
        }

    defaults = JobCreate(workdir="-", app_id=0).model_dump(mode="json")
    response = pages.show(
        request,
        server,
        visitor,
        "submit_job",
        {"form": form},
        sent=sent,
        fault=fault,
        numbers=NUMBERS,
        defaults=defaults,
        parents_must=list(ParentsMust),
        key=secrets.token_urlsafe(16),
    )
    response.status_code = 400 if fault else 200
    return response


@router.post("/ui/submit/job")
async def create_job(request: Request, server: Srv, visitor: Acting, form: Form) -> Response:
    """Creates one job; a form that is sent again creates no other."""
    sent = {name: str(value) for name, value in form.items()}
    try:
        want = wanted_job(form)
        job_id = await run_in_threadpool(_create_job, server, visitor.owner, sent.get("key", ""), want)
    except (BalsamError, ValidationError) as exc:
        app_id = whole(sent.get("app_id", ""))
        return await run_in_threadpool(_job_form, request, server, visitor, app_id, sent, _fault(exc))
    return pages.go_to(request, f"/jobs/{job_id}")


def _fault(exc: BalsamError | ValidationError) -> str:
    return words.faults(exc.errors()) if isinstance(exc, ValidationError) else exc.sentence


def wanted_job(form: FormData) -> JobCreate:
    """What the fields of the form ask for; those that are empty are left to their defaults."""
    given = {name: str(value).strip() for name, value in form.items() if str(value).strip()}
    values: dict[str, Any] = {
        name: given[name] for name in ("workdir", "app_id", "parents_must") if name in given
    }
    values |= {name: parameter(given[name]) for name in NUMBERS if name in given}
    values["tags"] = tags_of(given.get("tags", ""))
    values["parent_ids"] = [text for text in given.get("parent_ids", "").replace(",", " ").split() if text]
    values["parameters_json"] = {
        name.removeprefix(PARAMETER): parameter(text)
        for name, text in given.items()
        if name.startswith(PARAMETER)
    }
    slots = {name.removeprefix(REMOTE): text for name, text in given.items() if name.startswith(REMOTE)}
    values["transfers"] = {
        slot: {"location_alias": given.get(f"{PLACE}{slot}", ""), "path": path}
        for slot, path in slots.items()
    }
    return JobCreate.model_validate(values)


def parameter(text: str) -> Any:
    """A value as JSON where it is JSON (`3`, `true`, `[1, 2]`, `"3"`), else the text itself.

    A number that is written as JSON does not write it, such as `1.10` or `1e3`, is the text that it was.
    """
    try:
        value = orjson.loads(text)
    except ValueError:
        return text
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return text if is_number and repr(value) != text else value


def tags_of(text: str) -> dict[str, str]:
    return pairs([wire_tag(one) for one in tags_in(text)], "tags") or {}


def _create_job(server: Server, owner: Owner, key: str, want: JobCreate) -> int:
    def create() -> int:
        return int(jobs.create(tx, owner, [want], strict=True)[0]["id"])

    with server.db.write() as tx:
        return int(once(tx, owner, _key(key, "job", want.model_dump_json()), create)[0])


def _key(text: str, kind: str, body: str) -> Key:
    if not text:
        raise Invalid("this form is incomplete: open its page again")
    return Key(f"form:{text}", digest.of_bytes(f"{kind}\n{body}".encode()))


@router.get("/ui/submit/batch-job")
def batch_job_form(request: Request, server: Srv, visitor: Looking, site_id: ChosenId = None) -> Response:
    return _batch_job_form(request, server, visitor, site_id, {}, "")


def _batch_job_form(
    request: Request, server: Server, visitor: Any, site_id: int | None, sent: dict[str, str], fault: str
) -> Response:
    def form(look: Look) -> dict[str, Any]:
        site_names = names.of_sites(look.conn, look.owner)
        chosen = site_id if site_id is not None or len(site_names) != 1 else next(iter(site_names))
        site = None if chosen is None else sites.get(look.conn, look.owner, chosen)
        if chosen is not None and site is None:
            raise NotFound("Not found")
        return {"site": site, "site_names": site_names}

    response = pages.show(
        request,
        server,
        visitor,
        "submit_batch_job",
        {"form": form},
        sent=sent,
        fault=fault,
        modes=list(JobMode),
        key=secrets.token_urlsafe(16),
    )
    response.status_code = 400 if fault else 200
    return response


@router.post("/ui/submit/batch-job")
async def create_batch_job(request: Request, server: Srv, visitor: Acting, form: Form) -> Response:
    """Asks for nodes; what no queue of the site takes is refused."""
    sent = {name: str(value) for name, value in form.items()}
    try:
        want = wanted_batch_job(form)
        new_id = await run_in_threadpool(_create_batch_job, server, visitor.owner, sent.get("key", ""), want)
    except (BalsamError, ValidationError) as exc:
        site_id = whole(sent.get("site_id", ""))
        return await run_in_threadpool(_batch_job_form, request, server, visitor, site_id, sent, _fault(exc))
    return pages.go_to(request, f"/batch-jobs/{new_id}")


def wanted_batch_job(form: FormData) -> BatchJobCreate:
    given = {name: str(value).strip() for name, value in form.items() if str(value).strip()}
    fields = ("site_id", "num_nodes", "wall_time_min", "job_mode", "project", "queue")
    return BatchJobCreate.model_validate(
        {
            **{name: given[name] for name in fields if name in given},
            **{name: parameter(given[name]) for name in ("num_nodes", "wall_time_min") if name in given},
            "filter_tags": tags_of(given.get("filter_tags", "")),
            "optional_params": {
                name.removeprefix(OPTION): text for name, text in given.items() if name.startswith(OPTION)
            },
        }
    )


def _create_batch_job(server: Server, owner: Owner, key: str, want: BatchJobCreate) -> int:
    def create() -> int:
        return int(batch_jobs.create(tx, owner, want, strict=True)["id"])

    with server.db.write() as tx:
        return int(once(tx, owner, _key(key, "batch job", want.model_dump_json()), create)[0])
