"""Follows a campaign to its end, and starts again what has died on the way."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from balsam.api import BatchJob, Job, JobState
from balsam.client.errors import ClientError
from balsam.core.states import ACTIVE_BATCH_JOB_STATES as ACTIVE
from balsam.core.states import DONE_STATES
from examples.demonstration import POLL_SEC, DemonstrationFailed
from examples.digits.campaign import LANES, Campaign, submit_allocation
from examples.stack import CommandFailed, Stack

SECOND_LANE_AFTER = 0.1  # of all jobs
GIVE_UP_SEC = 600.0
MAX_TRIES = 5  # allocations of one lane in a row without any job done


class CampaignStuck(DemonstrationFailed):
    """The campaign did not end in time."""


def lanes_to_submit(work: Iterable[str], active: Iterable[str], done: float) -> list[str]:
    """Lanes with work and without an allocation; the second opens once a part of the jobs is done."""
    opened = LANES if done >= SECOND_LANE_AFTER else LANES[:1]
    return [lane for lane in opened if lane in set(work) and lane not in set(active)]


@dataclass
class Watch:
    """`say` prints a line; `progress` is told the number of jobs in each state."""

    stack: Stack
    campaign: Campaign
    site_id: int
    say: Callable[[str], None]
    progress: Callable[[Counter[JobState]], None]
    num_done: int = 0
    tries: Counter[str] = field(default_factory=Counter)

    def until_done(self) -> None:
        """Returns when all jobs have ended; raises CampaignStuck after ten minutes."""
        deadline = time.monotonic() + GIVE_UP_SEC
        while time.monotonic() < deadline:
            try:
                if self.step():
                    return
            except ClientError as exc:
                self.say(f"no answer from the server ({type(exc).__name__}): starting it again")
                self._restart_server()
            time.sleep(POLL_SEC)
        raise CampaignStuck(f"the campaign did not end within {GIVE_UP_SEC:g} s")

    def step(self) -> bool:
        """One look: True when all jobs have ended."""
        if not self.stack.agent_is_alive():
            self.say("the site's agent is gone: starting it again")
            self.stack.start_agent()
        mine = {job.id for job in self.campaign.jobs}
        jobs = [job for job in Job.objects.filter(tags=self.campaign.tags) if job.id in mine]
        open_jobs = [job for job in jobs if job.state not in DONE_STATES]
        self.progress(Counter(job.state for job in jobs))
        active = {one.filter_tags["lane"] for one in self.allocations() if one.state in ACTIVE}
        if len(jobs) - len(open_jobs) > self.num_done:
            self.num_done = len(jobs) - len(open_jobs)
            self.tries = Counter(dict.fromkeys(self.tries, 1))
        for lane in lanes_to_submit(
            {job.tags["lane"] for job in open_jobs}, active, self.num_done / len(mine)
        ):
            self._submit(lane)
        return not open_jobs

    def allocations(self) -> list[BatchJob]:
        return list(BatchJob.objects.filter(filter_tags=self.campaign.tags))

    def _submit(self, lane: str) -> None:
        if self.tries[lane] >= MAX_TRIES:
            raise CampaignStuck(
                f"{MAX_TRIES} allocations ended and nothing was run: see {self.stack.site}/log"
            )
        if self.tries[lane]:
            self.say(f"the nodes of lane {lane} have ended with work left: asking for others")
        self.tries[lane] += 1
        submit_allocation(self.campaign.name, lane, self.site_id)

    def _restart_server(self) -> None:
        try:
            self.stack.start_server()
        except CommandFailed as exc:
            self.say(str(exc))
