"""A live bar of jobs that end: in a terminal, and in a notebook."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, Self

from balsam.core.states import DONE_STATES, JobState
from balsam.sdk import waiting

if TYPE_CHECKING:
    from types import TracebackType

    from balsam.sdk.jobs import Job

REDRAW_SEC = 0.1  # a notebook keeps every drawing that it is sent


class Bar(Protocol):
    """Shows how many of how many jobs have ended, and how many of these failed."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, done: int, failed: int) -> None: ...


def progress(
    jobs: Iterable[Job], timeout: float | None, poll_interval: float, description: str
) -> waiting.WaitResult:
    """See `Job.objects.progress`."""
    given = list(jobs)
    done = failed = 0
    with bar_for(len(given), description) as bar:
        bar.show(0, 0)
        with suppress(TimeoutError):
            for batch in waiting.ended(given, timeout, poll_interval, patient=timeout is not None):
                done += len(batch)
                failed += sum(job.state is JobState.failed for job in batch)
                bar.show(done, failed)
    over = [job for job in given if job.state in DONE_STATES]
    return waiting.WaitResult(over, [job for job in given if job.state not in DONE_STATES])


def bar_for(total: int, description: str) -> Bar:
    """The bar of where this process shows things."""
    return NotebookBar(total, description) if _in_notebook() else TerminalBar(total, description)


def _in_notebook() -> bool:
    """Whether IPython runs here with a front end that shows HTML; it is not loaded to find out."""
    made: Any = sys.modules.get("IPython")
    shell = made.get_ipython() if made is not None and hasattr(made, "get_ipython") else None
    return shell is not None and hasattr(shell, "kernel")


class TerminalBar:
    """A line on standard error that is drawn anew; where that is no terminal, one line at the end."""

    def __init__(self, total: int, description: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Remaining

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]}", style="red"),
            TimeElapsedColumn(),
            Remaining(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task(description, total=total, failed="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, done: int, failed: int) -> None:
        self._progress.update(self._task, completed=done, failed=f"{failed} failed" if failed else "")


class NotebookBar:
    """An output of the cell that is replaced as jobs end; it needs no widgets."""

    def __init__(self, total: int, description: str) -> None:
        self._total, self._description = total, description
        self._begun = time.monotonic()
        self._drawn = -REDRAW_SEC
        self._shown = (0, 0)
        self._handle: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draw()

    def show(self, done: int, failed: int) -> None:
        self._shown = (done, failed)
        # Not left out, for nobody knows when the next one comes; jobs that end meanwhile come together then.
        time.sleep(max(0.0, self._drawn + REDRAW_SEC - time.monotonic()))
        self._draw()

    def _draw(self) -> None:
        from IPython import display

        front: Any = display
        self._drawn = time.monotonic()
        bundle = {"text/html": self._page(), "text/plain": self._line()}
        if self._handle is None:
            self._handle = front.display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def _line(self) -> str:
        done, failed = self._shown
        failures = f", {failed} failed" if failed else ""
        return (
            f"{self._description}: {done} of {self._total}{failures}, {time.monotonic() - self._begun:.0f} s"
        )

    def _page(self) -> str:
        done, _ = self._shown
        return (
            f'<progress max="{max(1, self._total)}" value="{done if self._total else 1}" '
            f'style="width: 20em; vertical-align: middle"></progress> {html.escape(self._line())}'
        )
