"""Requests made up from the OpenAPI document: none finds a 5xx.

`BALSAM_FUZZ_EXAMPLES=500 pytest tests/server/test_schema.py` looks longer than the suite does.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation

from tests.server.lab import Lab
from tests.services import PasswordServer, User

EXAMPLES = int(os.environ.get("BALSAM_FUZZ_EXAMPLES", "5"))
# They would end the login that the other requests use, or the things that they need.
SPARED = {("DELETE", "/sites/{site_id}"), ("DELETE", "/apps/{app_id}")}


class Fuzzer:
    """A server of its own with one of each thing, so that small ids are known ones."""

    def __init__(self, server: PasswordServer, user: User) -> None:
        lab = Lab(user.client, hooks=[], parameters={"a": {"required": False}})
        jobs = lab.create(3, transfers={}, tags={"a": "1"})
        lab.create(parent_ids=jobs[:1])
        lab.batch_job()
        session = lab.session()
        lab.acquire(session)
        self.url = server.url
        self.http = requests.Session()
        self.http.headers["authorization"] = f"Bearer {user.token}"

    def operations(self) -> Iterator[APIOperation[Any, Any, Any, Any]]:
        schema = schemathesis.openapi.from_url(f"{self.url}/openapi.json")
        for found in schema.get_all_operations():
            assert isinstance(found, Ok)
            operation = found.ok()
            if (operation.method.upper(), operation.path) not in SPARED:
                yield operation

    def send(self, case: Case[Any]) -> None:
        sent = case.as_transport_kwargs(base_url=self.url)
        # A stream does not end: what counts of it is its beginning.
        with self.http.request(**sent, stream=True, timeout=20) as answer:
            told = answer.text if answer.status_code >= 500 else ""
            assert answer.status_code < 500, f"{answer.status_code} {told}\n{case.as_curl_command()}"
            if case.path != "/stream":
                assert answer.content is not None


@pytest.fixture
def fuzzer(new_database: Callable[[], str]) -> Iterator[Fuzzer]:
    with PasswordServer(new_database()) as server:
        user = server.new_user()
        fuzzer = Fuzzer(server, user)
        yield fuzzer
        fuzzer.http.close()
        user.client.close()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_finds_a_fault_of_the_server(fuzzer: Fuzzer, mode: GenerationMode) -> None:
    for operation in fuzzer.operations():
        strategy = operation.as_strategy(generation_mode=mode)

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def look(case: Case[Any]) -> None:
            fuzzer.send(case)

        # Without a parameter or a body there is nothing to be wrong.
        with contextlib.suppress(Unsatisfiable):
            look()
