"""Agents of sites: where one works, and its lease of the site."""

from typing import Annotated

from pydantic import Field

from balsam.core.limits import MAX_ID
from balsam.schemas.types import Id, Int64, Wire

Word = Annotated[str, Field(max_length=256)]


class AgentPlace(Wire):
    """Which agent, and where: process and folder, so that others can tell whether it is the same one.

    `instance`: of this start of it. `boot_id`: of its host's kernel. `process`: what no other process has.
    `folder`: device and inode of the site folder, `path`: as it is spelled there.
    """

    instance: Annotated[str, Field(min_length=8, max_length=64)]
    host: Word
    boot_id: Word = ""
    pid: Annotated[int, Field(ge=0, le=MAX_ID)]
    process: Word = ""
    folder: Word
    path: Annotated[str, Field(max_length=4096)]


class AgentClaim(AgentPlace):
    """`replaces`: the instance that holds the site, which the claimant has seen to be dead.

    `clock_ahead_us`: how far the host's clock is ahead of the server's, where that is worth telling.
    `trouble`: what does not work there, such as its batch system, in that one's own words.
    """

    replaces: str | None = None
    clock_ahead_us: Int64 | None = None
    trouble: Annotated[str, Field(max_length=2_000)] | None = None


class AgentHolder(AgentPlace):
    """Who holds a site: since when, and when it was last heard of (microseconds of the server's clock)."""

    since: Id
    seen: Id


class LeaseOut(Wire):
    """Whether the claimant may work at the site; if not, who does. It has to be claimed again in time."""

    granted: bool
    holder: AgentHolder
    lease_sec: float


class SubmissionClaim(Wire):
    """`instance`: of the agent that is about to hand a BatchJob to the batch system."""

    instance: Annotated[str, Field(min_length=8, max_length=64)]


class RefusedAgent(Wire):
    """An agent that was not let in because another one works."""

    host: str
    path: str
    at: str


class AgentOut(Wire):
    """The agent that was last heard of: `state` is works, stopped or silent; `trouble`: what does not work.

    `clock_ahead_us`: how far its host's clock is ahead of the server's, where that is worth telling.
    """

    state: str
    host: str
    path: str
    pid: int
    since: str
    seen: str
    refused: RefusedAgent | None
    clock_ahead_us: int | None = None
    trouble: str | None = None
