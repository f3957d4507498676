"""Queries as tables of a notebook: bounded, escaped, with the columns of their kind."""

from __future__ import annotations

import html
from collections.abc import Callable

from balsam.api import App, BatchJob, EventLog, Job, Site
from balsam.sdk.notebook import ROWS

MakeJobs = Callable[..., list[Job]]
SCRIPT = "<script>alert(1)</script>"


def test_the_first_rows_are_shown_and_nothing_more_is_fetched(make_jobs: MakeJobs) -> None:
    make_jobs(ROWS + 5)
    query = Job.objects.all()
    text = query._repr_html_()
    assert text.count("<tr>") == 1 + ROWS and f"The first {ROWS} of more" in text
    assert query._fetched == []
    assert Job.objects.all()[:3]._repr_html_().count("<tr>") == 4
    assert "more" not in Job.objects.all()[:3]._repr_html_()


def test_text_of_strangers_is_escaped(make_jobs: MakeJobs) -> None:
    make_jobs(1, tags={SCRIPT: SCRIPT})
    text = Job.objects.filter(tags={SCRIPT: SCRIPT})._repr_html_()
    assert SCRIPT not in text and f"{html.escape(SCRIPT)}={html.escape(SCRIPT)}" in text
    nothing = Job.objects.filter(tags={"no": SCRIPT})._repr_html_()
    assert "nothing matches" in nothing and SCRIPT not in nothing


def test_each_kind_has_its_columns(make_jobs: MakeJobs, lab: Site) -> None:
    make_jobs(1)
    BatchJob.objects.create(2, 10, "mpi", lab, "p", "q")
    for query, column in (
        (EventLog.objects.all(), "to_state"),
        (BatchJob.objects.all(), "queue"),
        (Site.objects.all(), "path"),
        (App.objects.all(), "description"),
        (Job.objects.all(), "workdir"),
    ):
        text = query._repr_html_()
        assert f"<th>{column}</th>" in text and text.count("<tr>") >= 2
    assert "PREPROCESSED" in Job.objects.all()._repr_html_()
