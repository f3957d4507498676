"""Jobs: one app to be run in one workdir."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack

from balsam.client.errors import SomeRefused
from balsam.client.jobs import patch_jobs
from balsam.core.clock import UtcDatetime
from balsam.core.limits import DEFAULT_MAX_RESTARTS, MAX_ITEMS_PER_BULK_OP
from balsam.core.states import DONE_STATES, JobState, ParentsMust
from balsam.schemas import JobOrdering, JobTransferItem, SerializerInfo
from balsam.schemas.jobs import INT32, WhyCountOut, WhyOut
from balsam.schemas.messages import KillsOut
from balsam.sdk import job_creation, parameters, results, same_workdir, waiting
from balsam.sdk.apps import App
from balsam.sdk.bounded import EXPLAINED, bounded
from balsam.sdk.fields import (
    CREATE,
    FULL,
    IDS,
    OBJECT,
    PATH,
    PLAIN,
    READ,
    TAGS,
    TIME,
    UPDATE,
    Field,
    enum,
    fraction,
    schema,
    whole,
)
from balsam.sdk.filters import TagFilter
from balsam.sdk.model import DoesNotExist
from balsam.sdk.never_starting import NeverStarts
from balsam.sdk.query import Manager, Query, cut
from balsam.sdk.remote import KILL_SEC, RemoteJob, kill_matching, retry_matching
from balsam.sdk.same_workdir import IfExists
from balsam.sdk.sites import Site
from balsam.sdk.spelling import in_places, reject_unknown

if TYPE_CHECKING:
    from balsam.sdk.application import ApplicationDefinition

    AppRef = int | str | App | type[ApplicationDefinition]

SET_ONCE = CREATE | READ
LATER = UPDATE | READ
# What a job is given without names, after its workdir and its app.
POSITIONS = (
    *("tags", "data", "return_code", "num_nodes", "ranks_per_node", "threads_per_rank", "threads_per_core"),
    *("launch_params", "gpus_per_rank", "node_packing_count", "wall_time_min"),
    *("site_name", "parameters", "parent_ids", "transfers"),
)
# Options of a job that an app's own parameter of the same name hides in `submit()`.
JOB_EXTRAS = ("priority", "parents_must", "max_restarts", "mem_mb_per_rank")


class JobResources(TypedDict, total=False):
    tags: Mapping[str, Any] | None
    data: Mapping[str, Any] | None
    return_code: int | None
    num_nodes: int
    ranks_per_node: int
    threads_per_rank: int
    threads_per_core: int
    launch_params: Mapping[str, Any] | None
    gpus_per_rank: float
    node_packing_count: int
    wall_time_min: int
    priority: int
    parents_must: ParentsMust | str
    max_restarts: int
    mem_mb_per_rank: int


class JobOptions(JobResources, total=False):
    site_name: str | None
    parameters: Mapping[str, Any] | None
    parent_ids: Iterable[int | Job]
    transfers: Mapping[str, JobTransferItem | str] | None
    if_exists: IfExists


class JobUpdates(JobResources, total=False):
    workdir: str | Path
    serialized_parameters: str
    parameters_json: dict[str, Any]
    batch_job_id: int
    state: JobState | str
    state_timestamp: datetime
    state_data: Mapping[str, Any]
    pending_file_cleanup: bool
    serialized_return_value: str
    serialized_exception: str


class JobFilters(TypedDict, total=False):
    id: int | Iterable[int]
    parent_id: int | Iterable[int]
    app_id: AppRef | Iterable[AppRef]
    site_id: int | Site | Iterable[int | Site]
    batch_job_id: int | Iterable[int]
    last_update_before: datetime
    last_update_after: datetime
    workdir__contains: str
    state__ne: JobState | str
    state: JobState | str | Iterable[JobState | str]
    tags: TagFilter
    pending_file_cleanup: bool
    session_id: int | Iterable[int]
    failure: str


class Job(RemoteJob):
    """One run of an app in `workdir` (relative to the site's data folder), from CREATED to its end.

    `app_id`: an id, a name (with `site_name` where several sites have it) or an ApplicationDefinition.
    Resources are per run: `num_nodes` x `ranks_per_node` processes, each of `threads_per_rank` threads;
    up to `node_packing_count` such jobs share a node; `wall_time_min` minutes (0: not said).
    `transfers`: as given at creation; of a loaded job they are in `TransferItem.objects`.
    `state_timestamp` and `state_data` go with a new `state` into its event.
    `if_exists`: what `save()` does where there is a job in this workdir: `warn` (the default) logs that where
    it can be known without asking for each job; `error` raises WorkdirTaken where it is of the same app,
    `skip` takes that job instead, and `allow` says nothing.
    """

    ROUTE = "/jobs/"
    SHOWN = ("id", "workdir", "state")
    COLUMNS = ("id", "workdir", "app_id", "state", "tags", "num_nodes", "batch_job_id", "last_update")
    NoResult = results.NoResult
    NeverStarts = NeverStarts
    FIELDS = {
        "id": Field(READ, PLAIN),
        "workdir": Field(FULL, PATH),
        "app_id": Field(SET_ONCE, PLAIN),
        "site_id": Field(READ, PLAIN),
        "tags": Field(FULL, TAGS, {}),
        "data": Field(FULL, OBJECT, {}),
        "return_code": Field(FULL, whole(-INT32)),
        "num_nodes": Field(FULL, whole(1), 1),
        "ranks_per_node": Field(FULL, whole(1), 1),
        "threads_per_rank": Field(FULL, whole(1), 1),
        "threads_per_core": Field(FULL, whole(1), 1),
        "launch_params": Field(FULL, TAGS, {}),
        "gpus_per_rank": Field(FULL, fraction(0, 1_000_000), 0.0),
        "node_packing_count": Field(FULL, whole(1), 1),
        "wall_time_min": Field(FULL, whole(0), 0),
        "parent_ids": Field(SET_ONCE, IDS, []),
        "transfers": Field(CREATE, job_creation.TRANSFERS, {}),
        "priority": Field(FULL, whole(-INT32), 0),
        "parents_must": Field(FULL, enum(ParentsMust), "finish"),
        "max_restarts": Field(FULL, whole(0), DEFAULT_MAX_RESTARTS),
        "mem_mb_per_rank": Field(FULL, whole(0), 0),
        "state": Field(LATER, enum(JobState)),
        "state_timestamp": Field(UPDATE, TIME),
        "state_data": Field(UPDATE, OBJECT, {}),
        "batch_job_id": Field(LATER, PLAIN),
        "pending_file_cleanup": Field(LATER, PLAIN, False),
        "serialized_parameters": Field(LATER, PLAIN, ""),
        "parameters_json": Field(LATER, OBJECT),
        "serialized_return_value": Field(LATER, PLAIN, ""),
        "serialized_exception": Field(LATER, PLAIN, ""),
        "serializer": Field(READ, schema(SerializerInfo)),
        "session_id": Field(READ, PLAIN),
        "last_update": Field(READ, TIME),
        "num_runs": Field(READ, PLAIN, 0),
    }
    objects: ClassVar[JobManager]

    workdir: Path
    app_id: int
    site_id: int
    tags: dict[str, str]
    data: dict[str, Any]
    return_code: int | None
    num_nodes: int
    ranks_per_node: int
    threads_per_rank: int
    threads_per_core: int
    launch_params: dict[str, str]
    gpus_per_rank: float
    node_packing_count: int
    wall_time_min: int
    parent_ids: set[int]
    transfers: dict[str, JobTransferItem]
    priority: int
    parents_must: ParentsMust
    max_restarts: int
    mem_mb_per_rank: int
    state: JobState
    state_timestamp: UtcDatetime | None
    state_data: dict[str, Any]
    batch_job_id: int | None
    pending_file_cleanup: bool
    serialized_parameters: str
    parameters_json: dict[str, Any] | None
    serialized_return_value: str
    serialized_exception: str
    serializer: SerializerInfo | None
    session_id: int | None
    last_update: UtcDatetime
    num_runs: int

    _known_at: float = (
        -math.inf
    )  # of `time.monotonic()`: whatever has happened since is later than this record
    _session_id: int | None = None  # in whose name states are changed, while that session holds the job
    _site_name: str | None = None
    _if_exists: IfExists = "warn"
    _parameters: Mapping[str, Any] = {}
    _app: type[ApplicationDefinition] | None = None

    def __init__(
        self, workdir: str | Path, app_id: AppRef, *values: Any, **options: Unpack[JobOptions]
    ) -> None:
        options = {**in_places("Job", POSITIONS, values, options), **options}  # type: ignore[typeddict-item]
        creatable = [name for name, field in self.FIELDS.items() if field.use & CREATE]
        reject_unknown("Job", options, [*creatable, "site_name", "parameters", "if_exists"])
        self._site_name = options.pop("site_name", None)
        self._if_exists = same_workdir.checked(options.pop("if_exists", "warn"))
        self._parameters = dict(options.pop("parameters", None) or {})
        super().__init__(workdir=workdir, app_id=app_id, **options)
        job_creation.check_against_class(app_id, self._parameters, set(self.transfers))

    @property
    def app(self) -> type[ApplicationDefinition]:
        """The class of the job's app."""
        if self._app is None:
            self._app = job_creation.app_class(self.client(), self.app_id, self._site_name)
        return self._app

    def get_parameters(self) -> dict[str, Any]:
        """The app's parameters."""
        if not self.is_saved:
            return dict(self._parameters)
        return copy.deepcopy(self._read_parameters())

    def _read_parameters(self) -> dict[str, Any]:
        made = None if self.serializer is None else self.serializer.model_dump()
        return parameters.read(self.parameters_json, self.serialized_parameters, made)

    def set_parameters(self, value: Mapping[str, Any]) -> None:
        """Other parameters, from the next `save()` on."""
        if not self.is_saved:
            self._parameters = dict(value)
            return
        fields = parameters.fields_of(value, self.workdir)
        self.serialized_parameters = fields["serialized_parameters"]
        self.parameters_json = fields["parameters_json"]

    def parent_query(self) -> JobQuery:
        """The jobs that this one waits for."""
        return Job.objects.using(self.client()).filter(id=self.parent_ids)

    def resolve_workdir(self, data_path: str | Path) -> Path:
        """The workdir's path under a site's data folder."""
        return Path(data_path) / self.workdir

    def done(self) -> bool:
        """Whether the job has ended, well or not; asks the server unless that is known."""
        if self.state not in DONE_STATES:
            self.refresh_from_db()
        return self.state in DONE_STATES

    def result(self, timeout: float | None = None) -> Any:
        """What `run()` returned, as soon as the job has ended.

        Raises what `run()` raised, with the traceback of there as its cause (RuntimeError where that was no
        Exception, such as SystemExit, or can't be loaded here); Job.NoResult where it failed without (a
        command), with the reason, or where a command that ended well returned nothing; Job.NeverStarts, which
        is a NoResult, where it waits for a job that FAILED or was deleted; TimeoutError after `timeout`
        seconds.
        """
        for _ in waiting.ended([self], timeout):
            pass
        return results.outcome(self)

    def result_nowait(self) -> Any:
        """Like `result`, without waiting: Job.NoResult if the job has not ended."""
        self.done()
        return results.outcome(self)

    def why(self) -> WhyOut:
        """Why the job does not progress: a code and a sentence."""
        self._must_be_saved("explain")
        return WhyOut(**self.client().get(f"{self.ROUTE}{self.id}/why"))

    def __getstate__(self) -> dict[str, Any]:
        """Without the app's class, which is fetched anew: it may be of a script that nobody can import."""
        return {**super().__getstate__(), "_app": None}

    def creation_body(self) -> dict[str, Any]:
        """Without what says no more than the defaults, which make most of a job of `submit()`."""
        body = super().creation_body()
        return {name: value for name, value in body.items() if value != self.FIELDS[name].default}

    def _create(self) -> None:
        job_creation.create(self.client(), [self])

    def _update(self, changed: dict[str, Any]) -> None:
        self.client().put(f"{self.ROUTE}{self.id}", changed, params={"session_id": self._session_id})
        if "state" in changed:  # the server may have moved it further
            self.refresh_from_db()
        else:
            self._was_updated(changed)

    def _was_updated(self, changed: dict[str, Any]) -> None:
        kept = {
            name: value for name, value in changed.items() if name not in ("state_data", "state_timestamp")
        }
        self._load({**self._row, **kept})


class JobQuery(Query[Job]):
    """Jobs that match filters."""

    POSITIONS = tuple(JobFilters.__annotations__)
    FILTERS = (
        "last_update_before",
        "last_update_after",
        "workdir__contains",
        "state__ne",
        "tags",
        "pending_file_cleanup",
        "failure",
    )
    LIST_FILTERS = ("id", "parent_id", "app_id", "site_id", "batch_job_id", "session_id", "state")
    ENUM_FILTERS = {"state": JobState, "state__ne": JobState}
    ORDERINGS = ("id", "last_update", "state", "workdir")
    UPDATE_BY_QUERY = True
    DELETE_BY_QUERY = True
    COLUMNAR = True

    def filter(self, *values: Any, **filters: Unpack[JobFilters]) -> JobQuery:
        """Several values of one filter: any of them; several filters, or tags: all of them.

        `failure`: the signature of a run that failed, as `balsam.analytics.failures` and `why` name it.
        """
        return self.narrowed(filters, values)

    def get(self, *values: Any, **filters: Unpack[JobFilters]) -> Job:
        return self.narrowed(filters, values).the_one()

    def order_by(self, field: JobOrdering | str | None) -> JobQuery:
        """`id`, `last_update`, `state` or `workdir`; with `-`: descending."""
        return self.ordered(field)

    def update(self, **values: Unpack[JobUpdates]) -> int:
        """Sets fields of all matches in one request; how many jobs."""
        return self.change(values)

    def why(self, limit: int | None = None) -> list[WhyOut]:
        """Why these jobs do not progress, of at most `limit`; without one of 100, with a warning if there
        are more.
        """
        return bounded(
            lambda most: [WhyOut(**row) for row in self._explanations(most)],
            limit,
            EXPLAINED,
            "why(limit=...) tells of more jobs, and why_counts() of all by reason",
        )

    def why_counts(self) -> list[WhyCountOut]:
        """How many of these jobs do not progress for which reason, at which site, with an example of each.

        All of them, most first; those that have finished are left out.
        """
        self._must_be_whole("explain")
        if self.matches_nothing:
            return []
        rows = [
            WhyCountOut(**row)
            for filters in self._requests()
            for row in self.client().get("/jobs/why/counts", filters)
        ]
        merged: dict[tuple[str, int | None, str | None], WhyCountOut] = {}
        for row in rows:  # several where there are more ids than fit into one request
            known = merged.setdefault((row.code, row.site_id, row.cause), row)
            known.count += row.count if known is not row else 0
        return sorted(merged.values(), key=lambda one: -one.count)

    def counts(self, group_by: str | None = None) -> dict[str | int | None, dict[JobState, int]]:
        """How many of these jobs are in which state, by group; one group, None, without `group_by`.

        `group_by`: `site`, `app`, `tag:KEY` and others of docs/analytics.md; jobs without such a tag are in
        the group None. Counted on the server.
        """
        self._must_be_whole("count the states of")
        found: dict[str | int | None, dict[JobState, int]] = {}
        for filters in [] if self.matches_nothing else self._requests():
            for row in self.client().get("/jobs/counts", {**filters, "group_by": group_by}):
                states, state = found.setdefault(row["group"], {}), JobState(row["state"])
                states[state] = states.get(state, 0) + row["count"]
        return found

    def kill(self, timeout: float = KILL_SEC) -> KillsOut:
        """Ends all matches of the filters for good; how many had which outcome.

        Waits up to `timeout` seconds for those that run; `pending` names those that had not ended by then.
        """
        return kill_matching(self, [] if self.matches_nothing else self._requests_of_slice(), timeout)

    def retry(self) -> int:
        """Runs those of the matches once more that are FAILED; how many.

        A job that has run before runs anew in its workdir. One that failed before its first run begins again
        with waiting for its parents. Raises SomeRefused after all others where some may not.
        """
        parts = [] if self.matches_nothing else self._requests_of_slice()
        return retry_matching(self.client(), parts)

    def _with_ids(self, value: Any) -> Any:
        if isinstance(value, type) and hasattr(value, "registered_id"):
            return value.registered_id(self._client)
        if isinstance(value, (list, tuple, set, frozenset, Iterator)):
            return [self._with_ids(one) for one in value]
        return value


class JobManager(Manager[Job, JobQuery]):
    """`Job.objects`."""

    def create(self, workdir: str | Path, app_id: AppRef, *values: Any, **options: Unpack[JobOptions]) -> Job:
        return self.created(Job(workdir, app_id, *values, **options))

    def filter(self, *values: Any, **filters: Unpack[JobFilters]) -> JobQuery:
        """Several values of one filter: any of them; several filters, or tags: all of them."""
        return self.all().filter(*values, **filters)

    def get(self, *values: Any, **filters: Unpack[JobFilters]) -> Job:
        return self.all().get(*values, **filters)

    def bulk_create(self, instances: Iterable[Job], if_exists: IfExists | None = None) -> list[Job]:
        """Creates many jobs in few requests; the same instances, saved, in their order.

        `if_exists`: of all of them, instead of each one's own; `error` and `skip` ask once for each job.
        """
        jobs = list(instances)
        if if_exists is not None:
            for job in jobs:
                job._if_exists = same_workdir.checked(if_exists)
        job_creation.create(self.client(), jobs)
        return jobs

    def bulk_update(self, instances: Iterable[Job]) -> int:
        """Sends what changed in each job; how many were sent.

        Raises SomeRefused after all others were applied, where states of held jobs were refused.
        """
        changed = [(job, body) for job in instances if (body := job.changed())]
        applied, refused = 0, list[tuple[int, str]]()
        for session_id in dict.fromkeys(job._session_id for job, _ in changed):
            of_session = [(job, body) for job, body in changed if job._session_id == session_id]
            for part in cut(of_session, MAX_ITEMS_PER_BULK_OP):
                items = [{"id": job.id, **body} for job, body in part]
                count, reasons = patch_jobs(self.client(), items, session_id)
                applied += count
                refused += reasons
        self._mark_updated(changed, is_sure=not refused)
        if refused:
            raise SomeRefused(applied, len(changed) - applied, refused)
        return applied

    def bulk_refresh(self, jobs: Iterable[Job]) -> list[Job]:
        """Loads many jobs anew, 500 in a request; the same instances. Raises DoesNotExist."""
        given = list(jobs)
        waiting.refresh(given)
        return given

    def wait(
        self,
        jobs: Iterable[Job],
        timeout: float | None = None,
        poll_interval: float = 1.0,
        return_when: str = "ALL_COMPLETED",
    ) -> waiting.WaitResult:
        """Waits until jobs have ended; (done, not_done), also after `timeout` seconds.

        Raises Job.NeverStarts, with the root cause, once all that are left wait for jobs that FAILED or were
        deleted; with a timeout it only logs that, and waits, since somebody may mend it meanwhile.

        `return_when`: ALL_COMPLETED, FIRST_COMPLETED or FIRST_EXCEPTION (the first that FAILED).
        """
        return waiting.wait(jobs, timeout, poll_interval, return_when)

    def as_completed(
        self, jobs: Iterable[Job], timeout: float | None = None, poll_interval: float = 1.0
    ) -> Iterator[Job]:
        """Yields each job as it ends; TimeoutError when some have not ended after `timeout` seconds.

        Raises Job.NeverStarts, with the root cause, once all that are left wait for jobs that FAILED or were
        deleted.
        """
        return waiting.as_completed(jobs, timeout, poll_interval)

    def progress(
        self,
        jobs: Iterable[Job],
        timeout: float | None = None,
        poll_interval: float = 1.0,
        description: str = "jobs",
    ) -> waiting.WaitResult:
        """Like `wait`, with a live bar: how many of the jobs have ended, and how many of these FAILED.

        In a notebook it is an output of the cell; else a line on standard error, where that is a terminal.
        """
        from balsam.sdk.progress import progress  # which loads what draws

        return progress(jobs, timeout, poll_interval, description)

    def _mark_updated(self, changed: list[tuple[Job, dict[str, Any]]], is_sure: bool) -> None:
        for job, body in changed:
            job._was_updated(body)
        # The server may have moved jobs further, and where some were refused it names only the first.
        gone = suppress(DoesNotExist) if not is_sure else nullcontext()
        with gone:
            waiting.refresh([job for job, body in changed if "state" in body or not is_sure])


Job.objects = JobManager(Job, JobQuery)
