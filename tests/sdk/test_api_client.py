"""`client.Job` and the six others, as hooks of release 0.7 ask for them; the names that users may rely on."""

from __future__ import annotations

import types

import pytest

import balsam.analytics
import balsam.api
from balsam.api import ApplicationDefinition, Job, Site
from balsam.client.errors import ClientError
from balsam.sdk.api_client import ApiClient
from tests.services import User

KINDS = ("Site", "App", "Job", "BatchJob", "Session", "EventLog", "TransferItem")


def test_a_client_has_the_objects_that_act_through_it(hello: type[ApplicationDefinition], me: User) -> None:
    token = me.client._credentials.token(me.client._renew)
    with ApiClient(me.client.api_root, token) as client:
        assert client.token == token
        job = client.Job("w", hello.__app_id__, parameters={"name": "x"})
        job.save()
        assert job.client() is client and isinstance(job, client.Job)  # type: ignore[arg-type]
        assert client.Job.objects.get(job.id) == job == Job.objects.get(id=job.id)
        assert client.Site.objects.get("lab") == Site.objects.get(name="lab")
        with pytest.raises(client.Job.DoesNotExist):
            client.Job.objects.get(id=987654321)
        for kind in KINDS:
            assert getattr(client, kind).objects.all().count() >= 0, kind
        assert client.get("jobs/", limit=1)["results"][0]["id"] == job.id
        assert client.get("/jobs/", {"limit": 1}, id=job.id)["count"] == 1
        with pytest.raises(ClientError):
            client.get("nowhere/")


@pytest.mark.parametrize("module", [balsam.api, balsam.analytics])
def test_only_public_names_are_shown(module: types.ModuleType) -> None:
    """What completes in a notebook is what users may rely on."""
    shown = set(dir(module))
    assert set(module.__all__) <= shown
    assert not [name for name in shown if name in ("annotations", "Any", "TYPE_CHECKING", "Iterable")]
    assert shown - set(module.__all__) <= {"ClientSettings", "SiteConfig", "client"}
