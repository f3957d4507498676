"""Makes acquired jobs ready to start: their apps described once, their commands rendered.

User code runs in a worker, never here; most commands need no user code and are rendered from the template.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from balsam.launcher.apps import AppPlan
from balsam.launcher.command import Command
from balsam.launcher.executor import unforeseen
from balsam.runtime.requests import AppCode, Kind, Reply, Request
from balsam.runtime.worker_pool import Ticket, WorkerPool
from balsam.sdk import command_template

log = logging.getLogger(__name__)

STEP_SEC = 120.0  # user code that makes a command, or the import of an app's class, may take so long

Job = dict[str, Any]
AppKey = tuple[int, str, int | None]


class Preparation:
    """One of the callbacks is called once for each job that is added.

    `ready(job, plan, command)`, `command` None for jobs whose app has a `run()` and, with
    `preambles_of_functions`, no preamble; `hopeless(job, sentence)`;
    `refused(job, sentence)`: this node can't prepare it for the moment. They come from `add`, `add_apps` or
    the pool's `dispatch`. `about(job_id)` comes before anything is done with what a job holds.
    """

    def __init__(
        self,
        pool: WorkerPool,
        data_path: Path,
        ready: Callable[[Job, AppPlan, Command | None], None],
        hopeless: Callable[[Job, str], None],
        refused: Callable[[Job, str], None],
        about: Callable[[int], None],
        *,
        preambles_of_functions: bool = False,
    ) -> None:
        self._preambles_of_functions = preambles_of_functions
        self._pool = pool
        self._data_path = data_path
        self._ready = ready
        self._hopeless = hopeless
        self._refused = refused
        self._about = about
        self._codes: dict[int, AppCode] = {}
        self._plans: dict[AppKey, AppPlan | str] = {}
        self._waiting: dict[AppKey, list[Job]] = {}
        self._open: dict[Ticket, float] = {}
        self._killed: set[Ticket] = set()

    def add_apps(self, records: list[dict[str, Any]]) -> None:
        """Takes in apps that are new or have changed; jobs added later use them."""
        for record in records:
            self._codes[record["id"]] = AppCode.of_record(record)

    def is_newest(self, plan: AppPlan) -> bool:
        """Whether nothing newer of the plan's app has been taken in since it was made."""
        known = self._codes.get(plan.code.app_id)
        return known is None or _key(known) == _key(plan.code)

    def add(self, job: Job) -> None:
        code = self._codes.get(job["app_id"])
        if code is None:
            self._hopeless(job, f"its app (id {job['app_id']}) does not exist any more")
            return
        key = _key(code)
        plan = self._plans.get(key)
        if plan is not None:
            self._plan_job(job, plan)
        elif key in self._waiting:
            self._waiting[key].append(job)
        else:
            self._waiting[key] = [job]
            request = Request(Kind.describe, code, interpreter=code.interpreter)
            self._submit(request, lambda reply: self._described(code, reply))

    def resume(self) -> None:
        """This process was frozen, and its guard has killed what was under way: that is asked for again."""
        self._killed |= self._open.keys()

    def stop_overdue(self) -> None:
        """Kills steps of user code that take too long; their jobs become hopeless.

        What waits for a filesystem that stalls is no code that hangs: its time begins anew.
        """
        now = time.monotonic()
        for ticket, since in list(self._open.items()):
            if now - since <= STEP_SEC:
                continue
            if self._pool.hangs_in_a_file(ticket):
                log.warning("user code that prepares jobs waits for a filesystem that does not answer")
                self._open[ticket] = now
            else:
                self._pool.kill(ticket)

    def _submit(self, request: Request, done: Callable[[Reply], None]) -> None:
        def settled(reply: Reply) -> None:
            self._open.pop(ticket, None)
            was_killed = ticket in self._killed and reply.crashed
            self._killed.discard(ticket)
            if was_killed:
                self._submit(request, done)
            else:
                done(reply)

        ticket = self._pool.submit(request, settled)
        self._open[ticket] = time.monotonic()

    def _described(self, code: AppCode, reply: Reply) -> None:
        plan: AppPlan | str
        if reply.ok:
            try:
                plan = AppPlan.of_description(code, reply.result)
            except (KeyError, TypeError, ValueError) as exc:
                plan = f"the app {code.name} is described in a way that this release does not know: {exc!r}"
        else:
            told = "" if reply.error.startswith("the app ") else f"the app {code.name} does not load: "
            plan = f"{told}{reply.error}"
            log.warning("%s", plan)
        key = _key(code)
        if not reply.crashed:  # or an interpreter that is there by tomorrow would be missed for ever
            self._plans[key] = plan
        for job in self._waiting.pop(key):
            if reply.node_short or reply.outside:
                self._refused(job, reply.error)
            else:
                self._try(job, lambda job=job: self._plan_job(job, plan))  # type: ignore[misc]

    def _try(self, job: Job, step: Callable[[], None]) -> None:
        self._about(job["id"])
        try:
            step()
        except Exception as exc:  # whatever one job holds, the others go on
            self._hopeless(job, unforeseen(exc, "prepared"))

    def _plan_job(self, job: Job, plan: AppPlan | str) -> None:
        if isinstance(plan, str):
            self._hopeless(job, plan)
        elif plan.template is None and not (plan.has_preamble and self._preambles_of_functions):
            self._ready(job, plan, None)
        elif plan.template is not None and plan.renders_here(job):
            self._render(job, plan, plan.template)
        else:
            workdir = str(self._data_path / job["workdir"])
            request = Request(Kind.command, plan.code, job, workdir, interpreter=plan.code.interpreter)
            self._submit(request, lambda reply: self._try(job, lambda: self._commanded(job, plan, reply)))

    def _render(self, job: Job, plan: AppPlan, template: str) -> None:
        try:
            text = command_template.render(template, {**plan.defaults, **(job["parameters_json"] or {})})
        except command_template.TemplateError as exc:
            self._hopeless(job, str(exc))
            return
        own = {"OMP_NUM_THREADS": str(job["threads_per_rank"])}
        self._ready(job, plan, Command(text, (), {**own, **plan.environment}, plan.strict))

    def _commanded(self, job: Job, plan: AppPlan, reply: Reply) -> None:
        if reply.ok:
            made: Mapping[str, Any] = reply.result
            command = Command(made["command"], made["preamble"], made["environment"], plan.strict)
            self._ready(job, plan, command)
        elif reply.node_short or reply.outside:
            self._refused(job, reply.error)
        else:
            self._hopeless(job, f"the app {plan.code.name} could not make the command: {reply.error}")


def _key(code: AppCode) -> AppKey:
    """The version counts where the code is the same: a run reports what it ran."""
    return code.app_id, code.digest, code.version
