"""A user of a server with the campaign of `campaigns`, and the report of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from balsam.api import Job
from balsam.report.campaign import Bounds, Campaign, gather
from balsam.sdk.context import session
from tests.report import campaigns
from tests.services import User


@pytest.fixture
def tags(user: User) -> Iterator[dict[str, str]]:
    """Those of a campaign of the user as whom the test acts."""
    with session(user.client):
        yield campaigns.make()


@pytest.fixture
def campaign(tags: dict[str, str]) -> Campaign:
    return gather(Job.objects.filter(tags=tags), f"A {campaigns.SCRIPT} report", tags, {}, Bounds())
