"""Nothing means nothing: what is given by accident never makes a query choose more than was said.

Every filter of every kind of object, as the queries define them, so that a new one is covered by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from balsam import analytics
from balsam.api import (
    App,
    ApplicationDefinition,
    BatchJob,
    EventLog,
    Job,
    Session,
    Site,
    TransferItem,
)
from balsam.client.encoding import query_pairs
from balsam.client.errors import ServerRefused, SomeRefused
from balsam.client.transport import Client
from balsam.sdk.context import session
from balsam.sdk.filters import PAIRED
from balsam.sdk.query import Query
from balsam.sdk.totals import totals
from tests.services import User

KINDS = (Site, App, Job, BatchJob, Session, EventLog, TransferItem)
SINGLE = [(kind, name) for kind in KINDS for name in kind.objects._query.FILTERS]
SEVERAL = [(kind, name) for kind in KINDS for name in kind.objects._query.LIST_FILTERS]
Apps = type[ApplicationDefinition]


class _Unsaved:
    """As an object that is not saved."""

    FIELDS: dict[str, Any] = {}
    id = None


REFUSED: list[Callable[[], Any]] = [
    lambda: None,
    lambda: "",
    lambda: "  ",
    lambda: "\t\n",
    dict,
    lambda: {None: None},
    lambda: {"": "x"},
    lambda: {"a": None},
    lambda: [None],
    lambda: [1, None],
    lambda: [""],
    lambda: [[]],
    lambda: [{}],
    lambda: b"",
]
EMPTY: list[Callable[[], Any]] = [
    list,
    tuple,
    set,
    frozenset,
    lambda: iter(()),
    lambda: (one for one in list[int]()),
    lambda: range(0),
    lambda: {}.keys(),
    lambda: Job.objects.filter(id=[]),
]


@pytest.fixture
def ask() -> Iterator[Callable[..., Any]]:
    """There is no server: all that is asked here is answered without one."""
    with Client("http://127.0.0.1:9", retry_sec=0) as nobody, session(nobody):
        yield lambda kind, **filters: kind.objects.filter(**filters)


@pytest.mark.parametrize(("kind", "name"), [*SINGLE, *SEVERAL])
def test_what_is_nothing_is_refused_by_name(kind: Any, name: str, ask: Callable[..., Any]) -> None:
    for make in REFUSED:
        with pytest.raises((TypeError, ValueError), match=f"{name!r} of {kind.__name__}"):
            ask(kind, **{name: make()})
        with pytest.raises((TypeError, ValueError), match=f"{name!r} of {kind.__name__}"):
            kind.objects.get(**{name: make()})


@pytest.mark.parametrize(("kind", "name"), SINGLE)
def test_a_filter_of_one_value_takes_no_empty_list(kind: Any, name: str, ask: Callable[..., Any]) -> None:
    for make in EMPTY:
        with pytest.raises(TypeError, match=f"{name!r} of {kind.__name__}"):
            ask(kind, **{name: make()})


@pytest.mark.parametrize(("kind", "name"), SEVERAL)
def test_an_empty_list_matches_nothing(kind: Any, name: str, ask: Callable[..., Any]) -> None:
    for make in EMPTY:
        nothing: Query[Any] = ask(kind, **{name: make()})
        assert (list(nothing), nothing.count(), nothing.first(), bool(nothing)) == ([], 0, None, False)
        assert nothing.bounded_count().number == 0
        assert all(column == [] for column in nothing.to_columns().values())
        if nothing.UPDATE_BY_QUERY or nothing.UPDATE_IN_BULK:
            assert nothing.change({}) == 0
        if nothing.DELETE_BY_QUERY:
            nothing.delete()
        for verb in ("kill", "retry", "why", "why_counts", "counts"):
            if hasattr(nothing, verb):
                getattr(nothing, verb)()
        with pytest.raises(kind.DoesNotExist):
            kind.objects.get(**{name: make()})


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, name in SEVERAL if name == "id" or name.endswith("_id")]
)
@pytest.mark.parametrize("value", [_Unsaved(), [_Unsaved()], True, 1.5, float("nan"), "x", [True], object()])
def test_what_is_no_id_is_refused(kind: Any, name: str, value: Any, ask: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=f"{name!r} of {kind.__name__}"):
        ask(kind, **{name: value})


def test_reports_streams_and_waits_of_nothing_ask_nothing(ask: Callable[..., Any]) -> None:
    nothing = Job.objects.filter(id=[])
    assert analytics.throughput_report(nothing) == ([], [])
    assert analytics.utilization_report(EventLog.objects.filter(job_id=[])) == ([], [])
    assert analytics.available_nodes(BatchJob.objects.filter(id=[])) == ([], [])
    assert analytics.summary(nothing).jobs_by_state == {}
    assert analytics.failed_jobs(nothing) == [] and analytics.trace(nothing) == []
    assert list(EventLog.objects.stream(job_id=[])) == []
    assert totals(site_id=[]) == totals("site_id", app_id=iter(())) == []
    assert Job.objects.wait([]) == ([], []) == Job.objects.progress([])
    assert list(Job.objects.as_completed([])) == Job.objects.bulk_refresh([]) == []
    assert Job.objects.bulk_update([]) == 0 and Job.objects.bulk_create([]) == []


def test_the_query_string_of_an_empty_list_is_refused() -> None:
    """Whoever builds a request: what would vanish from it would choose more."""
    empty: list[Any] = [[], (), set(), {}, iter(())]
    for nothing in empty:
        with pytest.raises(ValueError, match="'id' of a query is empty"):
            query_pairs({"id": nothing})
    assert query_pairs({"id": None}) == []


def test_filters_that_are_given_twice_choose_what_both_do(ask: Callable[..., Any]) -> None:
    def filters(*given: dict[str, Any]) -> Any:
        query: Any = Job.objects.all()
        for one in given:
            query = query.filter(**one)
        return "nothing" if query.matches_nothing else query.filters

    assert filters({"tags": {"a": 1}}, {"tags": "b=2"}) == {"tags": {"a": "1", "b": "2"}}
    assert filters({"tags": {"a": 1}}, {"tags": {"a": 2}}) == "nothing"
    assert filters({"tags": {"a": 1}}, {"tags": {"a": 2}}, {"tags": {"a": 1}}) == "nothing"
    assert filters({"id": [1, 2]}, {"id": [2, 3]}) == {"id": [2]}
    assert filters({"id": [1, 2]}, {"id": 2}) == {"id": 2}
    assert filters({"id": 1}, {"id": 2}) == "nothing"
    assert filters({"id": []}, {"id": [1]}) == "nothing"
    assert filters({"state": "FAILED"}, {"state": ["FAILED", "RUNNING"]}) == {"state": ["FAILED"]}
    with pytest.raises(ValueError, match="'workdir__contains' of Job is 'a' already"):
        filters({"workdir__contains": "a"}, {"workdir__contains": "b"})
    before = filters({"last_update_before": "2026-01-02"}, {"last_update_before": "2026-01-01T12:00"})
    assert before == {"last_update_before": "2026-01-01T12:00"}


@pytest.mark.parametrize(("kind", "name"), [one for one in SINGLE if one[1] in PAIRED])
@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("k:v", {"k": "v"}),
        ("k=v", {"k": "v"}),
        ("k=", {"k": ""}),
        ("k:a=b", {"k": "a=b"}),
        ("k=a:b", {"k": "a:b"}),
        (["a:b", "c=d"], {"a": "b", "c": "d"}),
        (("a:b", "a:b"), {"a": "b"}),
        ({"n": 5, "x": True}, {"n": "5", "x": "True"}),
    ],
)
def test_tags_are_a_dict_a_text_or_texts(
    kind: Any, name: str, given: Any, read: dict[str, str], ask: Callable[..., Any]
) -> None:
    """As release 0.7 took them, and as they are written everywhere else."""
    assert ask(kind, **{name: given}).filters == {name: read}


@pytest.mark.parametrize("wrong", ["k", ":v", "=v", ["k"], ["a:b", "a:c"], [1], 5, b"k:v", {"a:b": "c"}])
def test_tags_that_are_none_are_refused(wrong: Any, ask: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="'tags' of Job"):
        ask(Job, tags=wrong)


def test_filters_may_be_given_by_their_places(make_jobs: Callable[..., list[Job]], lab: Site) -> None:
    """As release 0.7 has them."""
    jobs = make_jobs(2)
    assert Job.objects.get(jobs[0].id) == jobs[0]
    assert list(Job.objects.filter([jobs[1].id])) == [jobs[1]]
    assert Site.objects.get("lab") == lab == Site.objects.get(None, "/home/me")
    assert Job.objects.filter(None, None, jobs[0].app_id).count() == 2
    with pytest.raises(TypeError, match="'id' twice"):
        Job.objects.filter(1, id=2)
    with pytest.raises(TypeError, match="is None"):
        Job.objects.filter(None)
    with pytest.raises(TypeError, match="at most 1 values"):
        Session.objects.filter(1, 2)


def test_a_change_of_all_is_asked_for_as_such(make_jobs: Callable[..., list[Job]], me: User) -> None:
    draft = Job("draft", make_jobs(3)[0].app_id)
    for attempt in (
        lambda: Job.objects.filter(id=draft.id).delete(),
        lambda: Job.objects.filter(tags={}).delete(),
        lambda: Job.objects.filter(id=draft.id).update(priority=1),
        lambda: Job.objects.filter(parent_id=[draft]).kill(),  # type: ignore[list-item]
        lambda: me.client.delete("/jobs/"),
        lambda: me.client.put("/jobs/", {"priority": 1}),
        lambda: me.client.delete("/jobs/", {"ids": 5}),
        lambda: me.client.delete("/jobs/", {"all": "yes", "id": 5}),
        lambda: me.client.post("/jobs/kill", None),
        lambda: me.client.post("/jobs/retry", None),
        lambda: me.client.delete("/batch-jobs/"),
        lambda: me.client.put("/batch-jobs/", {"state": "pending_deletion"}),
        lambda: me.client.put("/transfers/", {"state": "done"}),
    ):
        with pytest.raises((TypeError, ServerRefused)):
            attempt()
    assert {job.priority for job in Job.objects.all()} == {0} and Job.objects.count() == 3
    assert Job.objects.all().update(priority=2) == 3
    Job.objects.all().delete()
    assert Job.objects.count() == 0


ROUTES = [
    ("jobs", Job),
    ("batch-jobs", BatchJob),
    ("events", EventLog),
    ("transfers", TransferItem),
    ("sites", Site),
    ("apps", App),
    ("sessions", Session),
]


@pytest.mark.parametrize(("route", "kind"), ROUTES)
def test_an_empty_parameter_of_a_request_is_refused(route: str, kind: Any, me: User) -> None:
    """As a program sends it whose variable is not set: `?id=`."""
    verbs = ["GET", "PUT", "DELETE"] if route in ("jobs", "batch-jobs") else ["GET"]
    names = (*kind.objects._query.FILTERS, *kind.objects._query.LIST_FILTERS)
    for verb, name, text in itertools.product(verbs, names, ("", "  ")):
        with pytest.raises(ServerRefused) as refusal:
            me.client.request(verb, f"/{route}/", params={name: text}, body={} if verb == "PUT" else None)
        assert name in str(refusal.value) and "empty" in str(refusal.value)


def test_failed_jobs_are_retried_by_a_query(make_jobs: Callable[..., list[Job]]) -> None:
    jobs = make_jobs(3)
    Job.objects.filter(id=[jobs[0].id, jobs[1].id]).update(state="FAILED")
    assert Job.objects.filter(id=[job.id for job in jobs]).retry() == 2
    assert Job.objects.filter(state="FAILED").count() == 0
    assert Job.objects.all().retry() == 0
    jobs[2].state = "FAILED"  # type: ignore[assignment]
    jobs[2].save()
    jobs[2].retry()
    assert jobs[2].state != "FAILED"


def test_batch_jobs_and_transfers_are_changed_by_a_query(lab: Site, me: User) -> None:
    one, two = (BatchJob.objects.create(1, minutes, "mpi", lab, "p", "q") for minutes in (1, 2))
    assert me.client.put("/batch-jobs/", {"state": "queued"}, params={"id": [one.id, two.id]}) == 2
    assert me.client.put("/batch-jobs/", {"state": "queued"}, params={"id": 987654}) == 0
    BatchJob.objects.filter(id=one.id).delete()
    assert list(BatchJob.objects.all()) == [two]
    two.state = "running"  # type: ignore[assignment]
    one._row["state"] = "queued"
    with pytest.raises(SomeRefused, match=f"there is no BatchJob {one.id}"):
        one.state = "running"  # type: ignore[assignment]
        BatchJob.objects.bulk_update([one, two])
    assert BatchJob.objects.get(id=two.id).state == "running"
    assert me.client.put("/transfers/", {"state": "done"}, params={"job_id": 987654}) == 0
