"""Jobs that are submitted into the workdir of another job of the same app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from balsam.client.transport import Client
    from balsam.sdk.jobs import Job

IfExists = Literal["error", "skip", "allow"]


class WorkdirTaken(ValueError):
    """There is a job of this app in this workdir already."""


def earlier(client: Client, job: Job, app_id: int, if_exists: IfExists) -> Job | None:
    """The job to be taken instead of a new one, for `skip`; raises WorkdirTaken for `error`.

    Any job of the same app in the same workdir counts, whatever became of it; the newest one is taken.
    """
    from balsam.sdk.jobs import Job as Jobs

    if if_exists not in get_args(IfExists):
        raise ValueError(f"if_exists is {if_exists!r}; it must be one of {', '.join(get_args(IfExists))}")
    if if_exists == "allow":
        return None
    workdir = str(job.workdir)
    alike = Jobs.objects.using(client).filter(app_id=app_id, workdir__contains=workdir).order_by("-id")
    found = next((one for one in alike if str(one.workdir) == workdir), None)
    if found is not None and if_exists == "error":
        raise WorkdirTaken(
            f"job {found.id} ({found.state}) of the same app has the workdir {workdir!r} already: choose "
            f"another one, or let if_exists be 'skip', which takes that job, or 'allow'"
        )
    return found
