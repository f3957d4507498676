"""Messages to sessions, and what users ask for through them."""

from typing import Any

from pydantic import Field

from balsam.schemas.types import Id, ReportDict, Wire


class MessageOut(Wire):
    """What a session is asked: `kill`, `tail` or `drain`, with what that needs in `body`."""

    id: Id
    kind: str
    job_id: int | None
    body: dict[str, Any]


class MessageAnswer(Wire):
    """What the session says to it; `error`, where it can't do it, is a sentence."""

    answer: ReportDict = Field(default_factory=dict)


class KillOut(Wire):
    """What became of a job that was killed.

    `outcome`: `killed`; `told` (its launcher ends it), `noted` (it fails when its holder lets go of it),
    `ended` (it had ended before).
    """

    job_id: int
    outcome: str
    sentence: str


class RetriesOut(Wire):
    """How many failed jobs were sent on. `refused`: (id, reason) of others; `next`: `after` of the next."""

    retried: int = 0
    refused: list[tuple[int, str]] = Field(default_factory=list)
    next: Id | None = None


class KillsOut(Wire):
    """How many had which outcome. `pending`: ids of those told or noted; `next`: `after` of the next call."""

    killed: int = 0
    told: int = 0
    noted: int = 0
    ended: int = 0
    pending: list[int] = Field(default_factory=list)
    next: int | None = None


class TailOut(Wire):
    """A piece of a job's output: what is no UTF-8 (and NUL) is replaced.

    `offset`: of the byte behind it, for the next `after`; `size`: of the file then, in bytes; `path`: of the
    file at the site; `state` and `num_runs` of the job when it was read.
    """

    text: str
    offset: int
    size: int
    path: str
    state: str
    num_runs: int


class DrainOut(Wire):
    """How many launchers are told; a sentence for each that did not answer."""

    launchers: int
    silent: list[str] = Field(default_factory=list)
