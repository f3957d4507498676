from collections.abc import Callable, Iterator

import pytest

from balsam.client.errors import AuthError, NotFoundError, ServerRefused
from balsam.client.transport import Client
from tests import asking
from tests.server.lab import Lab
from tests.services import PasswordServer, User


@pytest.fixture
def lab(client: Client) -> Lab:
    return Lab(client, hooks=[])


def test_the_same_key_creates_the_same_jobs_once(lab: Lab) -> None:
    body = [{"workdir": "w", "app_id": lab.app["id"]}]
    first = lab.client.post("/jobs/", body, key="k1")
    again = lab.client.post("/jobs/", body, key="k1")
    assert [job["id"] for job in first] == [job["id"] for job in again]
    assert lab.client.get("/jobs/", {"site_id": lab.site["id"]})["count"] == 1
    with pytest.raises(ServerRefused, match="another body") as refused:
        lab.client.post("/jobs/", body * 2, key="k1")
    assert refused.value.status == 422


def test_two_users_may_use_the_same_key(new_user: Callable[[], User]) -> None:
    for user in (new_user(), new_user()):
        lab = Lab(user.client)
        assert len(lab.client.post("/jobs/", [{"workdir": "w", "app_id": lab.app["id"]}], key="shared")) == 1


def test_a_site_token_sees_its_site_only_and_can_be_revoked(
    client: Client, password_server: PasswordServer
) -> None:
    here, there = Lab(client), Lab(client)
    here.create()
    there.create()
    made = client.post("/auth/site-tokens", {"site_id": here.site["id"]})
    with Client(password_server.url, made["token"]) as agent:
        assert [site["id"] for site in agent.get("/sites/")["results"]] == [here.site["id"]]
        assert agent.get("/jobs/")["count"] == 1
        assert agent.get("/events/")["count"] == 1
        with pytest.raises(NotFoundError):
            agent.get(f"/apps/{there.app['id']}")
        with pytest.raises(ServerRefused, match="site's token"):
            agent.post("/sites/", {"name": "new", "path": "/x"})
        [listed] = [row for row in client.get("/auth/site-tokens") if row["id"] == made["id"]]
        assert listed["revoked"] is None and "token" not in listed
        client.delete(f"/auth/site-tokens/{made['id']}")
        with pytest.raises(AuthError):
            agent.get("/jobs/")


def test_wrong_user_and_wrong_password_look_the_same(user: User, password_server: PasswordServer) -> None:
    answers = [
        asking.post(f"{password_server.url}/auth/password/login", data={"username": name, "password": word})
        for name, word in ((user.name, "wrong"), ("nobody", user.password))
    ]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].json() == answers[1].json() == {"detail": "Unauthorized"}


@pytest.mark.parametrize("header", [None, "Basic abc", "Bearer", "Bearer nonsense"])
def test_without_a_valid_token_nothing_is_answered(
    password_server: PasswordServer, header: str | None
) -> None:
    headers = {"authorization": header} if header else {}
    answer = asking.get(f"{password_server.url}/jobs/", headers=headers)
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=-1", 422),
        ("limit=100001", 422),
        ("offset=-1", 422),
        ("state=NOPE", 422),
        ("tags=nocolon", 400),
        ("after=nonsense", 400),
        (f"id={10**30}", 422),
        ("after=NQ==", 400),
        ("after=WzEsdHJ1ZV0=", 400),
        ("after=WzEsMTg0NDY3NDQwNzM3MDk1NTE2MTBd", 400),
        ("after=WyJhIiwxXQ==", 400),
        ("last_update_after=0001-01-01T00:00:00%2B05:00", 422),
        ("workdir__contains=%00", 422),
        ("last_update_after=yesterday", 422),
    ],
)
def test_bad_queries_are_refused_with_a_sentence(lab: Lab, query: str, status: int) -> None:
    with pytest.raises(ServerRefused) as refused:
        lab.client.get(f"/jobs/?{query}")
    assert refused.value.status == status


def test_bodies_that_no_database_can_hold_are_refused(lab: Lab) -> None:
    deep: dict[str, object] = {}
    for _ in range(80):
        deep = {"d": deep}
    for values in ({"tags": {"a": "\x00"}}, {"data": {"x": ["\x00"]}}, {"data": deep}, {"num_nodes": 10**12}):
        with pytest.raises(ServerRefused) as refused:
            lab.create(**values)
        assert refused.value.status == 422


@pytest.mark.parametrize(
    "values",
    [
        {"returncode": 10**15},
        {"returncode": "abc"},
        {"returncode": [1]},
        {"cpus": 10**18, "nodes": "n1", "gpus": "two"},
    ],
)
def test_odd_state_data_is_kept_but_not_believed(lab: Lab, values: dict[str, object]) -> None:
    [job] = lab.create()
    session = lab.session()
    lab.acquire(session)
    lab.move([job], "RUNNING", session, state_data=values)
    assert lab.move([job], "RUN_ERROR", session, state_data=values) == (1, [])
    assert lab.job(job)["return_code"] is None


def test_a_site_token_forces_nothing(client: Client, password_server: PasswordServer) -> None:
    lab = Lab(client, hooks=[])
    [job] = lab.create()
    token = client.post("/auth/site-tokens", {"site_id": lab.site["id"]})["token"]
    with Client(password_server.url, token) as agent, pytest.raises(ServerRefused) as refused:
        agent.put(f"/jobs/{job}", {"state": "JOB_FINISHED"})
    assert refused.value.status == 409 and "PREPROCESSED" in refused.value.sentence


@pytest.mark.parametrize("hides_its_length", [False, True])
@pytest.mark.parametrize(
    ("path", "token"), [("/jobs/", ""), ("/jobs/", "bl_wrong"), ("/auth/password/register", "")]
)
def test_large_bodies_of_strangers_are_not_parsed(
    password_server: PasswordServer, path: str, token: str, hides_its_length: bool
) -> None:
    body = b"{" * (3 * 2**20)
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    sent = iter([body[: 2**20]] * 3) if hides_its_length else body
    answer = asking.post(f"{password_server.url}{path}", content=sent, headers=headers)
    assert answer.status_code == 401 and "log in first" in answer.json()["detail"]


def test_large_bodies_of_users_are_parsed(password_server: PasswordServer, client: Client) -> None:
    with pytest.raises(ServerRefused) as refused:
        client.post("/jobs/", [{"tags": {"a": "b" * 10_000}}] * 300)
    assert refused.value.status == 422


def test_a_body_that_hides_its_length_is_still_limited(new_database: Callable[[], str]) -> None:
    with PasswordServer(new_database(), max_body_bytes=1000) as small:
        user = small.new_user()

        def chunks() -> Iterator[bytes]:
            for _ in range(20):
                yield b" " * 100

        headers = {"authorization": f"Bearer {user.token}", "content-type": "application/json"}
        answer = asking.post(f"{small.url}/jobs/", content=chunks(), headers=headers)
        assert answer.status_code == 413 and "larger than 1000 bytes" in answer.json()["detail"]
        user.client.close()


def test_an_app_with_jobs_stays_at_its_site(client: Client) -> None:
    here, there = Lab(client), Lab(client)
    free = here.add_app("Free", [])
    assert client.put(f"/apps/{free['id']}", {"site_id": there.site["id"]})["site_id"] == there.site["id"]
    here.create()
    with pytest.raises(ServerRefused, match="has jobs at its site"):
        client.put(f"/apps/{here.app['id']}", {"site_id": there.site["id"]})


def test_batch_jobs_that_have_not_started_are_paged_too(lab: Lab) -> None:
    rows = {lab.batch_job()["id"] for _ in range(3)}
    seen: list[int] = []
    params = {"ordering": "start_time", "limit": 1, "site_id": lab.site["id"]}
    page = lab.client.get("/batch-jobs/", params)
    while page["results"]:
        seen += [row["id"] for row in page["results"]]
        page = lab.client.get("/batch-jobs/", {**params, "after": page["next"]})
    assert sorted(seen) == sorted(rows)


def test_pages_by_key_hold_every_row_once(lab: Lab) -> None:
    jobs = lab.create(25)
    for ordering in ("id", "-id", "last_update", "-workdir"):
        seen: list[int] = []
        params = {"ordering": ordering, "limit": 10, "count": "no", "site_id": lab.site["id"]}
        page = lab.client.get("/jobs/", params)
        assert page["count"] is None
        while True:
            seen += [row["id"] for row in page["results"]]
            if page["next"] is None:
                break
            page = lab.client.get("/jobs/", {**params, "after": page["next"]})
        assert sorted(seen) == jobs and len(seen) == len(jobs)


def test_counts_fetch_no_rows(lab: Lab) -> None:
    lab.create(3)
    assert lab.client.get("/jobs/", {"limit": 0}) == {"count": 3, "results": [], "next": None}


def test_published_filters_choose_what_they_name(lab: Lab) -> None:
    parents = lab.create(2, tags={"e": "x", "n": "1"}, workdir="deep/one")
    [child] = lab.create(parent_ids=parents, workdir="deep/two")

    def chosen(**params: object) -> list[int]:
        return [row["id"] for row in lab.client.get("/jobs/", params)["results"]]

    assert chosen(parent_id=parents[0]) == [child]
    assert chosen(tags={"e": "x", "n": "1"}) == parents
    assert chosen(tags={"e": "x", "n": "2"}) == []
    assert chosen(workdir__contains="/two") == [child]
    assert chosen(state="AWAITING_PARENTS") == [child]
    assert chosen(state__ne="AWAITING_PARENTS") == parents
    assert chosen(pending_file_cleanup=False) == []
    assert chosen(id=[parents[1], child]) == [parents[1], child]
    assert chosen(app_id=lab.app["id"] + 1000) == []


def test_an_old_clients_new_class_makes_its_hooks_unknown_again(lab: Lab) -> None:
    changed = lab.client.put(f"/apps/{lab.app['id']}", {"serialized_class": "new"})
    assert changed["hooks"] is None


def test_names_are_taken_once_per_owner(lab: Lab) -> None:
    with pytest.raises(ServerRefused, match="A site with this name already exists"):
        lab.client.post("/sites/", {"name": lab.site["name"], "path": "/b"})
    with pytest.raises(ServerRefused, match="An app with this site_id and name already exists"):
        lab.add_app("App", None)
    other = lab.client.post("/sites/", {"name": lab.site["name"] + "b", "path": "/b"})
    with pytest.raises(ServerRefused, match="already exists"):
        lab.client.put(f"/sites/{other['id']}", {"name": lab.site["name"]})


def test_deleting_answers_no_body_and_takes_the_events_along(lab: Lab) -> None:
    [job] = lab.create()
    assert lab.client.delete(f"/jobs/{job}") is None
    assert lab.client.get("/events/", {"job_id": job})["count"] == 0
    with pytest.raises(NotFoundError):
        lab.client.delete(f"/jobs/{job}")


def test_an_ended_allocation_does_not_come_back(lab: Lab) -> None:
    row = lab.batch_job()
    lab.client.put(f"/batch-jobs/{row['id']}", {"state": "finished"})
    with pytest.raises(ServerRefused, match="it can't go to queued"):
        lab.client.put(f"/batch-jobs/{row['id']}", {"state": "queued"})


def test_a_wish_to_end_an_allocation_survives_the_agents_report(lab: Lab) -> None:
    path = f"/batch-jobs/{lab.batch_job()['id']}"
    lab.client.put(path, {"state": "pending_deletion"})
    assert lab.client.put(path, {"state": "running", "scheduler_id": 5})["state"] == "pending_deletion"


def test_what_is_left_out_of_a_refusal_is_counted(lab: Lab) -> None:
    """Kind: a list that is cut says how much of it is missing."""
    with pytest.raises(ServerRefused, match="and 20 more, which are left out"):
        lab.client.post("/jobs/", [{} for _ in range(35)])  # two fields are missing in each
    with pytest.raises(ServerRefused, match=r"Unknown: \[.*\] and 5 more"):
        lab.client.post("/jobs/", [{"workdir": f"w{n}", "app_id": 900_000_000 + n} for n in range(15)])
