"""A logged-in user with a site and apps, and ways to move jobs as a site would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from balsam.api import App, ApplicationDefinition, Job, Site
from balsam.sdk.context import session
from tests.services import User


@pytest.fixture
def me(user: User) -> Iterator[User]:
    """The user as whom `Job.objects` and the like act in the test."""
    with session(user.client):
        yield user


@pytest.fixture
def lab(me: User) -> Site:
    return Site.objects.create("lab", "/home/me/lab")


@pytest.fixture
def hello(lab: Site) -> type[ApplicationDefinition]:
    """A command with one needed and one optional parameter."""

    class Hello(ApplicationDefinition):
        """Says hello."""

        site = "lab"
        command_template = "echo {{ greeting }} {{ name }}"
        parameters = {"greeting": {"required": False, "default": "hi", "help": "first word"}}

    Hello.sync()
    return Hello


@pytest.fixture
def add(lab: Site) -> type[ApplicationDefinition]:
    """A Python app."""

    class Add(ApplicationDefinition):
        site = "lab"

        def run(self, x: int, y: int = 2) -> int:
            return x + y

    Add.sync()
    return Add


@pytest.fixture
def bare_app(lab: Site) -> App:
    """An app as an older client registers it: any hook may exist."""
    return App.objects.create(lab.id, "Bare", "", "")


@pytest.fixture
def make_jobs(add: type[ApplicationDefinition]) -> Callable[[int], list[Job]]:
    """Makes n jobs, ready to run, with x = 0, 1, 2 ..."""

    def make(number: int, **options: Any) -> list[Job]:
        return Job.objects.bulk_create(
            [add.submit(f"add/{x}", save=False, x=x, **options) for x in range(number)]
        )

    return make
