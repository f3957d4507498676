"""Whatever is sent, the answer is a 4xx with a sentence: never a 5xx, never a hung connection."""

from __future__ import annotations

import gzip
import itertools
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from balsam.client.transport import Client
from tests import asking
from tests.server.lab import Lab
from tests.services import PasswordServer, User


@pytest.fixture
def lab(client: Client) -> Lab:
    return Lab(client, hooks=[])


class Raw:
    """Sends bytes as they are."""

    def __init__(self, server: PasswordServer, user: User) -> None:
        self.http = asking.client(base_url=server.url, headers={"authorization": f"Bearer {user.token}"})
        self.port = int(server.url.rpartition(":")[2])

    def send(self, method: str, path: str, content: Any = None, kind: str = "application/json") -> Any:
        headers = {b"content-type": kind.encode("latin-1")} if kind else {}
        return self.http.request(method, path, content=content, headers=headers)

    def close(self) -> None:
        self.http.close()


@pytest.fixture
def raw(password_server: PasswordServer, user: User) -> Iterator[Raw]:
    sender = Raw(password_server, user)
    yield sender
    sender.close()


def refused(answer: httpx.Response) -> str:
    """The sentence of a refusal."""
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:300])
    detail = answer.json()["detail"]
    assert detail
    return str(detail)


def job(lab: Lab, text: str) -> bytes:
    """A creation whose job has these further members, as JSON text."""
    return b'[{"workdir":"w","app_id":%d,%s}]' % (lab.app["id"], text.encode("utf-8", "surrogatepass"))


DEEP = "[" * 60 + "]" * 60
BOMB = '{"a":' * 100_000 + "1" + "}" * 100_000
NINES = "9" * 5_000
BAD_MEMBERS = [
    '"tags":{"a":"\\u0000"}',
    '"tags":{"\\u0000":"a"}',
    '"tags":{"a":"\\ud800"}',
    '"tags":{"\\ud800":"a"}',
    '"tags":{"a":"' + "x" * 5_000 + '"}',
    '"data":{"a":["\\u0000"]}',
    '"data":{"\\u0000":1}',
    '"data":{"a":{"\\udfff":1}}',
    '"data":{"a":"\\ud83d"}',
    '"data":{"a":' + DEEP + "}",
    '"data":{"a":NaN}',
    '"data":{"a":[Infinity]}',
    '"data":{"a":1e400}',
    '"data":{"a":18446744073709551616}',
    '"data":{"a":' + NINES + "}",
    '"data":' + BOMB,
    '"parameters_json":{"a":"\\u0000"}',
    '"parameters_json":{"a":-Infinity}',
    '"launch_params":{"a":"\\u0000"}',
    '"workdir":"a\\u0000b"',
    '"workdir":"\\ud800"',
    '"workdir":"' + "x" * 2_000 + '"',
    '"serialized_parameters":"\\u0000"',
    '"serialized_parameters":"' + "x" * 512_001 + '"',
    '"transfers":{"\\u0000":{"location_alias":"a","path":"b"}}',
    '"transfers":{"\\ud800":{"location_alias":"a","path":"b"}}',
    '"serializer":{"name":"\\u0000","version":"1","python":"1"}',
    '"gpus_per_rank":NaN',
    '"gpus_per_rank":1e308',
    '"num_nodes":1e400',
    '"num_nodes":9223372036854775808',
    '"num_nodes":' + NINES,
    '"num_nodes":1.5',
    '"wall_time_min":-1',
    '"return_code":1099511627776',
    '"priority":1099511627776',
    '"parent_ids":[18446744073709551616]',
    '"parent_ids":[-1]',
    '"app_id":1180591620717411303424',
    '"app_id":null',
]


def test_jobs_that_no_database_holds_are_refused(lab: Lab, raw: Raw) -> None:
    for members in BAD_MEMBERS:
        answer = raw.send("POST", "/jobs/", job(lab, members))
        assert 400 <= answer.status_code < 500 and answer.json()["detail"], (members[:60], answer.text[:300])
    assert lab.client.get("/jobs/")["count"] == 0


def test_updates_that_no_database_holds_break_nothing(lab: Lab, raw: Raw) -> None:
    [number] = lab.create()
    for members in BAD_MEMBERS:
        bulk = raw.send("PATCH", "/jobs/", b'[{"id":%d,%s}]' % (number, members.encode()))
        one = raw.send("PUT", f"/jobs/{number}", b"{%s}" % members.encode())
        assert bulk.status_code < 500 and one.status_code < 500, members[:60]
    assert lab.job(number)["data"] == {} and lab.job(number)["tags"] == {}


BODIES = [
    b"",
    b"null",
    b"1",
    b'"text"',
    b"[",
    b"{",
    b"[1]",
    b"[null]",
    b"[[]]",
    b"\xff\xfe",
    b'[{"workdir": "\xff"}]',
    b"\x00",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b"9" * 10_000,
    b"\xef\xbb\xbf[]x",
    "[\ud800]".encode("utf-16", "surrogatepass"),
]
FORM = "application/x-www-form-urlencoded"
DOORS = [
    ("POST", "/jobs/"),
    ("PATCH", "/jobs/"),
    ("PUT", "/jobs/"),
    ("POST", "/sites/"),
    ("POST", "/apps/"),
    ("POST", "/batch-jobs/"),
    ("PATCH", "/batch-jobs/"),
    ("POST", "/sessions/"),
    ("PATCH", "/transfers/"),
    ("POST", "/auth/site-tokens"),
    ("POST", "/auth/password/register"),
    ("POST", "/auth/password/login"),
]


@pytest.mark.parametrize(("method", "path"), DOORS)
def test_bodies_that_are_no_json_are_refused(raw: Raw, method: str, path: str) -> None:
    for body in BODIES:
        for kind in (
            "application/json",
            "text/plain",
            "application/x-www-form-urlencoded",
            "",
            "x/y; z=\xff",
        ):
            refused(raw.send(method, path, body, kind))


def test_bodies_over_the_limit_are_refused(raw: Raw) -> None:
    size = 65 * 2**20
    declared = raw.send("POST", "/jobs/", b" " * size)
    assert declared.status_code == 413 and "larger than" in refused(declared)

    def chunks() -> Iterator[bytes]:
        for _ in range(65):
            yield b" " * 2**20

    hidden = raw.send("POST", "/jobs/", chunks())
    assert hidden.status_code == 413 and "larger than" in refused(hidden)


def test_tags_of_ten_megabytes_are_refused(lab: Lab, raw: Raw) -> None:
    big = json.dumps("x" * 10_000_000)
    refused(raw.send("POST", "/jobs/", job(lab, f'"tags":{{"a":{big}}}')))
    refused(raw.send("POST", "/jobs/", job(lab, f'"tags":{{{big}:"a"}}')))


def test_compressed_bodies_are_not_unpacked(raw: Raw) -> None:
    bomb = gzip.compress(b" " * 100_000_000)
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    refused(raw.http.post("/jobs/", content=bomb, headers=headers))


def test_a_member_that_comes_twice_counts_once(lab: Lab, raw: Raw) -> None:
    answer = raw.send("POST", "/jobs/", job(lab, '"num_nodes":2,"num_nodes":1,"tags":{"a":"1","a":"2"}'))
    assert answer.status_code == 201
    assert (answer.json()[0]["num_nodes"], answer.json()[0]["tags"]) == (1, {"a": "2"})
    assert lab.client.get("/jobs/", {"tags": {"a": "2"}})["count"] == 1


LISTS = [
    "/jobs/",
    "/sites/",
    "/apps/",
    "/batch-jobs/",
    "/events/",
    "/transfers/",
    "/jobs/why",
    "/batch-jobs/why",
]
QUERIES = [
    "limit=-1",
    "limit=1e3",
    f"limit={10**30}",
    "limit=NaN",
    "offset=-1",
    f"offset={10**30}",
    "after=%00",
    "after=%ff",
    "after=" + "A" * 1000,
    "count=maybe",
    "ordering=nope",
    f"id={2**63}",
    "id=-1",
    "id=x",
]


def test_queries_that_mean_nothing_are_refused(raw: Raw) -> None:
    for path, query in itertools.product(LISTS, QUERIES):
        if query == "ordering=nope" and path in ("/sites/", "/apps/", "/transfers/"):
            continue  # they have one order: what is unknown is passed over, as published
        refused(raw.send("GET", f"{path}?{query}"))


NUL_QUERIES = [
    "/jobs/?tags=a:%00",
    "/jobs/?tags=%ED%A0%80:x",
    "/jobs/?workdir__contains=%00",
    "/jobs/?workdir__contains=%ED%A0%80",
    "/jobs/?last_update_after=%00",
    "/jobs/?last_update_after=99999-01-01",
    "/jobs/?last_update_after=1e30",
    "/jobs/?last_update_after=NaN",
    "/jobs/?last_update_after=-1e18",
    "/events/?data=a:%00",
    "/events/?data=%00:a",
    "/events/?timestamp_after=infinity",
    f"/events/?scheduler_id={2**63}",
    "/events/?to_state=%00",
    "/sites/?name=%00",
    "/sites/?path=%00",
    "/apps/?site_path=%00",
    "/apps/?name=%00",
    "/batch-jobs/?state=%00",
    "/batch-jobs/?filter_tags=%00:%00",
    "/batch-jobs/?queue=%00",
    "/transfers/?job_state=%00",
    "/transfers/?tags=%00:a",
    "/analytics/events/throughput?entered=%00",
    "/analytics/summary?tags=%00:a",
    "/stream?cursor=%00",
    "/stream?to_state=%00",
    "/jobs/%00",
    f"/jobs/{2**63}",
    "/jobs/-1",
    "/jobs/%ED%A0%80",
    f"/sites/{2**63}",
    f"/apps/{2**63}",
    f"/batch-jobs/{2**63}",
    f"/transfers/{2**63}",
    "/nothing/%00",
]


def test_texts_that_no_database_holds_are_refused_in_addresses(raw: Raw) -> None:
    for path in NUL_QUERIES:
        answer = raw.send("GET", path)
        assert 200 <= answer.status_code < 500, path
        if "%ED%A0%80" not in path:  # decoded to replacement characters: a text like any other
            refused(answer)


def test_long_addresses_and_headers_are_refused(raw: Raw) -> None:
    for head in (
        b"GET /jobs/?tags=" + b"x" * 200_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /jobs/ HTTP/1.1\r\nhost: x\r\nx-y: " + b"z" * 200_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00nonsense\r\n\r\n",
        b"POST /jobs/ HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /jobs/ HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"POST /jobs/ HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", raw.port), timeout=10) as connection:
            connection.sendall(head)
            answer = connection.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 4"), answer[:100]


ODD_VALUES = [b"", b"\xff", b"x" * 10_000, b"\x7f", b"Bearer \xed\xa0\x80", b"Bearer " + b"y" * 9_000]


def test_headers_that_are_odd_break_nothing(lab: Lab, raw: Raw) -> None:
    names = ("idempotency-key", "authorization", "prefer", "last-event-id", "x-request-id")
    for header, value in itertools.product(names, ODD_VALUES):
        answer = raw.http.post(
            "/jobs/",
            content=job(lab, '"num_nodes":1'),
            headers=[(b"content-type", b"application/json"), (header.encode(), value)],
        )
        assert answer.status_code < 500, (header, value[:10], answer.text)


def test_texts_in_every_other_body_are_checked(lab: Lab, raw: Raw) -> None:
    batch_job = lab.batch_job()["id"]
    session = lab.session()
    nul, half = '"\\u0000"', '"\\ud800"'
    for bad in (nul, half):
        bodies = [
            ("POST", "/sites/", '{"name":%s,"path":"/a"}'),
            ("POST", "/sites/", '{"name":"n","path":"/a","transfer_locations":{%s:"x"}}'),
            ("POST", "/sites/", '{"name":"n","path":"/a","allowed_projects":[%s]}'),
            ("POST", "/sites/", '{"name":"n","path":"/a","backfill_windows":{%s:[]}}'),
            ("PUT", f"/sites/{lab.site['id']}", '{"allowed_queues":{%s:{}}}'),
            ("PUT", f"/sites/{lab.site['id']}", '{"optional_batch_job_params":{"a":%s}}'),
            ("POST", "/apps/", '{"site_id":1,"name":%s,"serialized_class":"","source_code":""}'),
            ("PUT", f"/apps/{lab.app['id']}", '{"description":%s}'),
            ("PUT", f"/apps/{lab.app['id']}", '{"parameters":{%s:{"required":true}}}'),
            ("PUT", f"/apps/{lab.app['id']}", '{"hooks":[%s]}'),
            ("PUT", f"/batch-jobs/{batch_job}", '{"cause":%s}'),
            ("PUT", f"/batch-jobs/{batch_job}", '{"scheduler_id_text":%s}'),
            ("PUT", f"/batch-jobs/{batch_job}", '{"status_info":{%s:"a"}}'),
            ("POST", f"/sessions/{session}", '{"max_num_jobs":1,"filter_tags":{%s:"a"}}'),
            ("POST", f"/sessions/{session}", '{"max_num_jobs":1,"sort_by":%s}'),
            ("PATCH", "/transfers/", '[{"id":1,"task_id":%s}]'),
            ("PATCH", "/transfers/", '[{"id":1,"transfer_info":{"a":%s}}]'),
            ("POST", "/auth/password/register", '{"username":%s,"password":"p"}'),
            ("POST", "/auth/password/register", '{"username":"u","password":%s}'),
        ]
        for method, path, text in bodies:
            refused(raw.send(method, path, (text % bad).encode()))
    for form in (
        b"username=%00&password=a",
        b"username=a&password=%00",
        b"username=a",
        b"username=%ED%A0%80",
    ):
        refused(raw.send("POST", "/auth/password/login", form, FORM))
