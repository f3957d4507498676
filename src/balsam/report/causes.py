"""Jobs that failed for good, each cause once: how many, which, and what the newest of them said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from balsam.core.failure_text import exit_words, normal, reason_of
from balsam.schemas.analytics import FailedJob

JOBS_NAMED = 20


@dataclass(frozen=True, slots=True)
class Cause:
    """`jobs`: the newest first."""

    text: str
    jobs: Sequence[FailedJob]

    @property
    def newest(self) -> FailedJob:
        return self.jobs[0]

    @property
    def ids(self) -> str:
        """The ids of the newest, and how many more there are."""
        named = ", ".join(str(one.job_id) for one in self.jobs[:JOBS_NAMED])
        more = len(self.jobs) - JOBS_NAMED
        return f"{named} and {more:,} more" if more > 0 else named


def causes_of(failed: Sequence[FailedJob]) -> list[Cause]:
    """The most frequent first; of failed jobs in the order of the analytics, the newest first."""
    found: dict[str, list[FailedJob]] = {}
    for one in failed:
        found.setdefault(_cause(one), []).append(one)
    return [Cause(text, jobs) for text, jobs in sorted(found.items(), key=lambda item: -len(item[1]))]


def _cause(one: FailedJob) -> str:
    """The exit of the last run, and the line that tells why, without its numbers."""
    line = normal(reason_of(one.return_code, one.tail))
    ended = exit_words(one.return_code) if one.return_code else ""
    if not line:
        return ended or f"out of {one.from_state}, without a word"
    return line if line in ended or not ended else f"{ended}: {line}"
