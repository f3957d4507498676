"""The agent's lease of its site: which agent this is, where it works, and what to do when another does."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

from balsam.client.transport import Client
from balsam.core.clock import ClockOffset, from_us, now_us
from balsam.runtime.site_folder import identity_of
from balsam.schemas.agents import AgentHolder, AgentPlace, LeaseOut
from balsam.site.this_machine import boot_id, is_of_this_start, process_of
from balsam.site.wire_text import storable

BEAT_SEC = 10.0
MOST_TROUBLE = 1_000  # characters
LEASE_WAIT_SEC = 60.0  # longer than the lease of an agent that has died
LOOK_SEC = 2.0  # between looks at a holder of whom it is not known whether it lives


@dataclass(frozen=True)
class Granted:
    """The site is this agent's until the lease ends."""


@dataclass(frozen=True)
class Replace:
    """The holder is dead, as can be seen from here: claim the site in its place."""

    instance: str


@dataclass(frozen=True)
class Wait:
    """Whether the holder lives can't be seen from here: it either beats again, or its lease ends."""


@dataclass(frozen=True)
class Elsewhere:
    """Another agent works at the site; where, as a sentence with the remedy."""

    sentence: str


Step = Granted | Replace | Wait | Elsewhere


def place_of(path: Path) -> AgentPlace:
    """This process as the agent of the site folder; each call makes another instance."""
    return AgentPlace(
        instance=uuid.uuid4().hex,
        host=socket.gethostname(),
        boot_id=boot_id(),
        pid=os.getpid(),
        process=process_of(os.getpid()) or "",
        folder=identity_of(path),
        path=str(path),
    )


def next_step(mine: AgentPlace, answer: LeaseOut, lives: bool | None, first: AgentHolder | None) -> Step:
    """What to do about the server's answer to a claim.

    `lives`: whether the holder's process does; None for one on another host. `first`: how the holder stood at
    the first refusal, where this is not the first one.
    """
    holder = answer.holder
    if answer.granted:
        return Granted()
    if lives is False:
        return Replace(holder.instance)
    beats = first is not None and (first.instance, first.seen) != (holder.instance, holder.seen)
    return Elsewhere(elsewhere(mine, holder)) if lives or beats else Wait()


def elsewhere(mine: AgentPlace, holder: AgentHolder) -> str:
    """Where the agent works that holds the site, and what its user can do."""
    where = (
        f"an agent of this site works already: host {holder.host}, process {holder.pid}, in {holder.path}, "
        f"since {from_us(holder.since):%Y-%m-%d %H:%M:%S} UTC"
    )
    if (holder.boot_id, holder.folder) == (mine.boot_id, mine.folder) or holder.path == mine.path:
        return f"{where}; stop it there with `balsam site stop`"
    return (
        f"{where}. {mine.path} is the same site: if it is a copy, make a site of its own in another folder, "
        "with another name (`balsam site init`); if the site was moved here, stop the agent that works there"
    )


class SiteLease:
    """Claims the site for this process. `clock`: how far the server's is ahead, from the first claim on."""

    def __init__(self, site_id: int, path: Path, client: Client) -> None:
        self.place = place_of(path)
        self.clock = ClockOffset()
        self._client = client
        self._route = f"/sites/{site_id}/agent"
        self._first: AgentHolder | None = None
        self._trouble = ""

    def tell(self, trouble: str) -> None:
        """What does not work at the site, as a sentence, from the next claim on; empty when all works."""
        self._trouble = trouble

    def claim(self) -> Step:
        """One exchange with the server, or two."""
        step = self._ask(None)
        return self._ask(step.instance) if isinstance(step, Replace) else step

    def _ask(self, replaces: str | None) -> Step:
        ahead_us = self.clock.telling_us or None
        body = {**self.place.model_dump(), "replaces": replaces, "clock_ahead_us": ahead_us}
        if self._trouble:
            body["trouble"] = storable(self._trouble, MOST_TROUBLE)
        sent = now_us()
        answer = LeaseOut.model_validate(self._client.put(self._route, body))
        if answer.granted:
            self.clock.add(sent, answer.holder.seen, now_us())
        step = next_step(self.place, answer, self._lives(answer.holder), self._first)
        if not answer.granted and self._first is None:
            self._first = answer.holder
        return step

    def _lives(self, holder: AgentHolder) -> bool | None:
        """Whether the holder's process lives, where it is one of this machine since its last start."""
        return process_of(holder.pid) == holder.process if is_of_this_start(holder.process) else None

    def may_submit(self, batch_job_id: int) -> None:
        """Claims a BatchJob for submission; raises ServerRefused with the reason where it is another's."""
        self._client.post(f"/batch-jobs/{batch_job_id}/submission", {"instance": self.place.instance})

    def end(self, client: Client) -> None:
        """Says that this agent works no more; through a client that does not try for long."""
        client.delete(f"{self._route}/{self.place.instance}")
