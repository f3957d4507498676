"""Jobs that are submitted into the workdir of another job of their site."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, get_args

from balsam.client.errors import ClientError

if TYPE_CHECKING:
    from balsam.client.transport import Client
    from balsam.sdk.jobs import Job

log = logging.getLogger(__name__)

IfExists = Literal["warn", "error", "skip", "allow"]
MAX_LOOKED_AT = 100  # of the jobs whose workdirs contain the one that is asked for
MAX_REMEMBERED = 100_000  # about 15 MB
MAX_WARNINGS = 10  # of a site; whoever has read so many has understood
# By the hash of server, site and workdir: the last job that this process made there.
_seen: dict[int, int] = {}
_asked: set[tuple[str, int]] = set()  # servers and sites of which jobs of other processes were looked for
_warnings = Counter[tuple[str, int]]()


class WorkdirTaken(ValueError):
    """There is a job in this workdir already."""


def checked(if_exists: Any) -> IfExists:
    """Raises ValueError for what is none."""
    if if_exists not in get_args(IfExists):
        raise ValueError(f"if_exists is {if_exists!r}; it must be one of {', '.join(get_args(IfExists))}")
    known: IfExists = if_exists
    return known


def earlier(client: Client, job: Job, app_id: int, if_exists: IfExists) -> Job | None:
    """The job to be taken instead of a new one, for `skip`; raises WorkdirTaken for `error`.

    Any job of the same app in the same workdir counts, whatever became of it; the newest one is taken.
    """
    if if_exists not in ("error", "skip"):
        return None
    found = _newest(client, str(job.workdir), app_id=app_id)
    if found is not None and if_exists == "error":
        raise WorkdirTaken(
            f"job {found.id} ({found.state}) of the same app has the workdir {str(job.workdir)!r} already: "
            f"choose another one, or let if_exists be 'skip', which takes that job, or 'allow'"
        )
    return found


def _newest(client: Client, workdir: str, before: int | None = None, **where: int) -> Job | None:
    from balsam.sdk.jobs import Job as Jobs

    alike = Jobs.objects.using(client).all().narrowed({**where, "workdir__contains": workdir}).order_by("-id")
    looked_at = alike if before is None else alike[:MAX_LOOKED_AT]
    is_it = (one for one in looked_at if str(one.workdir) == workdir and (before is None or one.id < before))
    return next(is_it, None)


def warn(client: Client, made: Sequence[Job]) -> None:
    """Logs a warning where jobs that were just made share their workdirs with others of their sites.

    Told of are jobs that this process made before, and once for each site one of anybody: that of the first
    workdir, which is taken, too, where a whole script is run again. A job that waits for the other one is
    meant to be there.
    """
    shared = [pair for job in made if (pair := _pair(client, job)) is not None]
    if shared and _warnings[_place(client, shared[0][0])] < MAX_WARNINGS:
        with suppress(ClientError):  # the jobs are there, whatever this comes to
            _tell(client, shared)


def _place(client: Client, job: Job) -> tuple[str, int]:
    return client.api_root, job.site_id


def _pair(client: Client, job: Job) -> tuple[Job, int] | None:
    """The job and the one that had the workdir before; remembers the job."""
    row = job._row  # reading fields makes objects of their values, of each of many jobs
    place = client.api_root, row["site_id"]
    key = hash((*place, row["workdir"]))
    before = _seen.get(key)
    if len(_seen) < MAX_REMEMBERED or before is not None:
        _seen[key] = row["id"]
    if before is None and place not in _asked and job._if_exists == "warn":
        with suppress(ClientError):
            found = _newest(client, row["workdir"], before=row["id"], site_id=row["site_id"])
            before = None if found is None else found.id
    _asked.add(place)
    is_meant = job._if_exists != "warn" or before is None or before in job.parent_ids
    return None if before is None or is_meant else (job, before)


def _tell(client: Client, shared: Sequence[tuple[Job, int]]) -> None:
    from balsam.sdk.jobs import Job as Jobs

    ids = sorted({before for _, before in shared[:MAX_LOOKED_AT]})
    there = {one.id: one for one in Jobs.objects.using(client).filter(id=ids)}  # others were deleted
    pairs = [(job, there[before]) for job, before in shared[:MAX_LOOKED_AT] if before in there]
    if not pairs:
        return
    job, other = pairs[0]
    _warnings[_place(client, job)] += 1
    rest = len(shared) - 1
    more = f", and {rest} more of those that were made with it have others' too" if rest else ""
    log.warning(
        "job %d has the workdir %r of job %d (%s)%s: they would write over each other's files. Choose "
        "another workdir, or let if_exists be 'allow', or 'skip', which takes the job that is there",
        *(job.id, str(job.workdir), other.id, other.state, more),
    )
