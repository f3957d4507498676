"""The stream: followed across cuts, without a gap, and shared by waiters."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from balsam.api import App, Job, JobState, Site
from balsam.client.errors import AuthError
from balsam.client.sse import ServerSentEvent
from balsam.client.stream import follow
from balsam.client.transport import Client
from tests.services import EmbeddedServer, User


def make_job(client: Client, workdir: str = "w") -> Job:
    sites = Site.objects.using(client)
    site = sites.first() or sites.create("lab", "/lab")
    apps = App.objects.using(client)
    app = apps.first() or apps.create(site.id, "A", "", "", hooks=[])
    return Job.objects.using(client).create(workdir, app.id)


def next_of(messages: Iterator[ServerSentEvent], *names: str) -> ServerSentEvent:
    return next(message for message in messages if message.name in names)


def test_events_arrive_with_a_cursor(client: Client) -> None:
    messages = follow(client)
    assert next(messages).name == "hello"
    job = make_job(client)
    message = next_of(messages, "events")
    assert message.id
    assert {event["job_id"] for event in message.data} == {job.id}
    assert message.data[0]["from_state"] == "CREATED"
    messages.close()  # type: ignore[attr-defined]


def test_only_what_is_asked_for_arrives(client: Client) -> None:
    messages = follow(client, "/stream", {"to_state": ["FAILED"]})
    next(messages)
    make_job(client, "a")
    job = make_job(client, "b")
    job.state = JobState.failed
    job.save()
    message = next_of(messages, "events")
    assert [(event["job_id"], event["to_state"]) for event in message.data] == [(job.id, "FAILED")]
    messages.close()  # type: ignore[attr-defined]


def test_another_users_events_do_not_arrive(new_user: Callable[[], User]) -> None:
    mine, theirs = new_user().client, new_user().client
    messages = follow(mine)
    next(messages)
    make_job(theirs)
    own = make_job(mine)
    assert {event["job_id"] for event in next_of(messages, "events").data} == {own.id}
    messages.close()  # type: ignore[attr-defined]


def test_following_ends_when_told(client: Client) -> None:
    stop = threading.Event()
    messages = follow(client, stop=stop)
    next(messages)
    stop.set()
    assert len(list(messages)) <= 1


def test_what_happened_during_a_cut_arrives_after_it(embedded: EmbeddedServer) -> None:
    with embedded.client() as client:
        messages = follow(client)
        next(messages)
        make_job(client, "before")
        next_of(messages, "events")
        embedded.kill()
        assert next_of(messages, "cut").name == "cut"
        embedded.start()
        missed = make_job(client, "missed")
        message = next_of(messages, "events", "reset")
        assert message.name == "events"
        assert {event["job_id"] for event in message.data} == {missed.id}
        messages.close()  # type: ignore[attr-defined]


def test_a_cursor_of_another_database_is_reset(client: Client) -> None:
    first = next(client.stream("/stream", {"cursor": "no-such-epoch:5"}))
    assert first.name == "reset" and first.data["cursor"]


def test_a_login_that_ran_out_ends_the_stream(client: Client) -> None:
    with Client(client.api_root, "bad token") as stranger, pytest.raises(AuthError):
        next(follow(stranger))
