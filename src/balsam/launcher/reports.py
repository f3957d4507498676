"""What a launcher reports of its runs."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balsam.core.failure_text import Strength, reason_in
from balsam.core.limits import ERROR_TAIL_CHARS
from balsam.core.states import JobState
from balsam.launcher.placement import Need, Share
from balsam.runtime.job_output import JOB_OUTPUT as JOB_OUTPUT
from balsam.runtime.job_output import place
from balsam.runtime.updates import Update

_TAIL_BYTES = 64_000
_LINES_READ = 200  # in which the reason of a failed run is looked for


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended. `error`: what is known beside the output; `payload`: return value or exception.

    `reason`: why it failed, where that is known better than the output tells. `output_begins`: where in
    job.out, in bytes: not at 0 where that is a link, which is not set aside. `outside`: somebody else killed
    it, as far as can be told.
    """

    returncode: int
    ended_us: int
    error: str = ""
    payload: Mapping[str, str] | None = None
    reason: str = ""
    output_begins: int = 0
    outside: bool = False


def started(job_id: int, stamp_us: int, need: Need, share: Share, app_version: int | None = None) -> Update:
    cpus = need.cores * need.nodes
    version = {} if app_version is None else {"app_version": app_version}
    given = {"num_nodes": need.weight, "nodes": share.nodes, "cpus": cpus, "gpus": share.gpus}
    return Update(job_id, JobState.running, stamp_us, version | given)


def ended(job_id: int, ending: Ending, workdir: str, tail_lines: int) -> Update:
    """RUN_DONE or RUN_ERROR; an error carries the end of the output, and the line that tells why."""
    fields: dict[str, Any] = {"return_code": ending.returncode, **(ending.payload or {})}
    if ending.returncode == 0:
        return Update(job_id, JobState.run_done, ending.ended_us, {"returncode": 0}, fields)
    path = place(workdir, job_id)
    output = tail(Path(path), _LINES_READ, ending.output_begins) if path is not None else ""
    reason = reason_in(output)
    output = "\n".join(output.splitlines()[-tail_lines:]) if tail_lines else ""
    told = [text for text in (output, ending.error) if text]
    # The traceback of a run() that raised is in its output already.
    if len(told) == 2 and ending.error.splitlines()[-1] in told[0]:
        told.pop()
    if is_full(workdir):
        told.append(f"the disk of {workdir} is full")  # what the run wrote about it went nowhere
    error = clean("\n".join(told))
    data: dict[str, Any] = {"returncode": ending.returncode, "error": error}
    is_above = reason.strength <= Strength.system and reason.strength < reason_in(error).strength
    if ending.reason or is_above:
        data["reason"] = clean(ending.reason or reason.line)
    return Update(job_id, JobState.run_error, ending.ended_us, data, fields)


def cut_short(job_id: int, stamp_us: int, reason: str) -> Update:
    return Update(job_id, JobState.run_timeout, stamp_us, {"message": reason})


def not_startable(job_id: int, stamp_us: int, sentence: str) -> Update:
    return Update(job_id, JobState.failed, stamp_us, {"error": clean(sentence)})


def killed(job_id: int, stamp_us: int, by: str, ending: Ending | None) -> Update:
    """The end of a job that a user killed; `ending`: of its run, None where none had started."""
    data: dict[str, Any] = {"killed": True, "by": by}
    if ending is None:
        return Update(job_id, JobState.failed, stamp_us, {**data, "message": f"killed by {by}"})
    fields = {"return_code": ending.returncode}
    return Update(job_id, JobState.run_error, stamp_us, {**data, "returncode": ending.returncode}, fields)


def tail(path: Path, lines: int, begins: int = 0) -> str:
    """The last lines of a run's output, from a byte on; what is no text is replaced."""
    try:
        # Non-blocking: a FIFO that the run has put there must not hold up the launcher.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):  # a device may have no end
            return ""
        start = max(begins if begins <= facts.st_size else 0, facts.st_size - _TAIL_BYTES)
        text = os.pread(fd, _TAIL_BYTES, start).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)
    return "\n".join(text.splitlines()[-lines:]) if lines else ""


def is_full(path: str) -> bool:
    """Whether there is no room for another block, or another file, on the filesystem of a path."""
    try:
        disk = os.statvfs(path)
    except OSError:
        return False
    # Filesystems that count neither report no blocks or files at all.
    return (disk.f_blocks > 0 and disk.f_bavail == 0) or (disk.f_files > 0 and disk.f_favail == 0)


def clean(text: str) -> str:
    """Text that the server stores: no NUL, not too long, the end kept."""
    return (
        text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
        .encode("utf-8", "replace")
        .decode()[-ERROR_TAIL_CHARS:]
    )
