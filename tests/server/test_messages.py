"""Messages to sessions over HTTP: kill, tail, drain, their answers, and what happens without one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from balsam.client.errors import NotFoundError, ServerRefused
from balsam.client.transport import Client
from balsam.core.clock import now_us
from balsam.logic import messages
from balsam.logic.sessions import Lease, expire, overdue
from balsam.store import messages as store
from balsam.store.owner import Owner
from tests.server.lab import Lab
from tests.server.listener import Listener
from tests.services import PasswordServer, User

Row = dict[str, Any]


class Launcher:
    """A session with its stream, played by the test; `agent`: one without nodes."""

    def __init__(
        self, server: PasswordServer, user: User, lab: Lab, *, agent: bool = False, **values: Any
    ) -> None:
        self.client = user.client
        self.id = lab.session(**({"num_nodes": 0} if agent else {}), **values)
        self.stream = Listener(server, user, site_id=lab.site["id"], session_id=self.id, to_state="FAILED")

    def hear(self) -> Row:
        """The next message."""
        [message] = self.stream.get("messages").data
        return dict(message)

    def answer(self, message: Row, **content: Any) -> None:
        self.client.put(f"/sessions/{self.id}/messages/{message['id']}", {"answer": content})

    def open(self) -> list[Row]:
        found: list[Row] = self.client.get(f"/sessions/{self.id}/messages")
        return found


@pytest.fixture
def lab(user: User) -> Lab:
    return Lab(user.client, hooks=[])


@pytest.fixture
def launch(password_server: PasswordServer, user: User, lab: Lab) -> Iterator[Callable[..., Launcher]]:
    made: list[Launcher] = []

    def start(of: Lab = lab, **values: Any) -> Launcher:
        made.append(Launcher(password_server, user, of, **values))
        return made[-1]

    yield start
    for launcher in made:
        launcher.stream.close()


@pytest.fixture
def beside() -> Iterator[Callable[..., Future[Any]]]:
    """Calls something in a thread: its answer is to come while the test goes on."""
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit


def kill(client: Client, job_id: int) -> Row:
    answer: Row = client.post(f"/jobs/{job_id}/kill", None)
    return answer


def running(lab: Lab, session: int, count: int = 1, **values: Any) -> list[int]:
    ids = lab.create(count, **values)
    assert lab.acquire(session) == ids
    lab.move(ids, "RUNNING", session)
    return ids


def end(server: PasswordServer, session_id: int) -> None:
    """As the sweeper does when the lease has run out."""
    found = overdue(server.server.db, Lease(-1.0, -1.0), 0)
    [row] = [row for row in found if row["id"] == session_id]
    assert expire(server.server.db, row)


class TestKill:
    @pytest.mark.parametrize("state", ["READY", "STAGED_IN", "RUN_DONE", "RESTART_READY", "POSTPROCESSED"])
    def test_a_job_that_waits_fails_at_once_and_says_who_did_it(self, user: User, state: str) -> None:
        slots = {way: {"required": False, "direction": way, "local_path": way} for way in ("in", "out")}
        lab = Lab(user.client, transfers=slots)
        [job] = lab.create(transfers={way: {"location_alias": "dtn", "path": "/x"} for way in slots})
        lab.move([job], state)
        assert lab.state(job) == state
        assert kill(user.client, job)["outcome"] == "killed"
        last = lab.events(job)[-1]
        assert (last["from_state"], last["to_state"]) == (state, "FAILED")
        assert last["data"] == {"message": f"killed by {user.name}", "killed": True}
        assert user.name in user.client.get(f"/jobs/{job}/why")["sentence"]

    def test_a_job_that_waits_for_its_parents_fails(self, lab: Lab, user: User) -> None:
        [parent] = lab.create()
        [child] = lab.create(parent_ids=[parent])
        assert kill(user.client, child)["outcome"] == "killed"
        assert lab.walk(child) == ["CREATED", "AWAITING_PARENTS", "FAILED"]

    def test_children_go_on_if_they_only_need_their_parent_to_end(self, lab: Lab, user: User) -> None:
        [parent] = lab.create()
        [easy] = lab.create(parent_ids=[parent], parents_must="end")
        [strict] = lab.create(parent_ids=[parent])
        kill(user.client, parent)
        assert (lab.state(easy), lab.state(strict)) == ("PREPROCESSED", "AWAITING_PARENTS")

    def test_a_running_job_is_ended_by_its_launcher_without_handle_error(
        self, user: User, launch: Callable[..., Launcher]
    ) -> None:
        lab = Lab(user.client, hooks=["handle_error"])
        launcher = launch(lab)
        [job] = running(lab, launcher.id)
        assert kill(user.client, job)["outcome"] == "told"
        message = launcher.hear()
        assert (message["kind"], message["job_id"]) == ("kill", job)
        assert message["body"] == {"job_ids": [job], "by": user.name}
        assert user.name in user.client.get(f"/jobs/{job}/why")["sentence"]
        launcher.answer(message, jobs={str(job): "ending"})
        lab.move([job], "RUN_ERROR", launcher.id, state_data={"killed": True, "returncode": -15})
        assert lab.walk(job)[-3:] == ["RUNNING", "RUN_ERROR", "FAILED"]
        assert lab.events(job)[-1]["data"]["message"] == f"killed by {user.name}"
        assert launcher.open() == []

    def test_killing_again_changes_nothing_and_tells_the_launcher_again(
        self, lab: Lab, user: User, launch: Callable[..., Launcher]
    ) -> None:
        launcher = launch()
        [job] = running(lab, launcher.id)
        [waiting] = lab.create()
        for _ in range(2):
            assert kill(user.client, job)["outcome"] == "told"
            assert launcher.hear()["body"]["job_ids"] == [job]
        assert [kill(user.client, waiting)["outcome"] for _ in range(2)] == ["killed", "ended"]
        assert len(lab.events(waiting)) == 3

    def test_of_a_job_that_has_ended_it_is_said(self, lab: Lab, user: User) -> None:
        session = lab.session()
        [job] = running(lab, session)
        lab.move([job], "RUN_DONE", session)
        answer = kill(user.client, job)
        assert answer["outcome"] == "ended"
        assert "JOB_FINISHED" in answer["sentence"]
        assert lab.state(job) == "JOB_FINISHED"

    def test_a_run_that_ended_well_in_the_meantime_counts_as_such(self, lab: Lab, user: User) -> None:
        session = lab.session()
        [job] = running(lab, session)
        kill(user.client, job)
        lab.move([job], "RUN_DONE", session)
        assert lab.state(job) == "JOB_FINISHED"

    @pytest.mark.parametrize("was", ["RUNNING", "PREPROCESSED"])
    def test_a_killed_job_of_a_lost_session_fails_and_does_not_run_again(
        self, lab: Lab, user: User, password_server: PasswordServer, was: str
    ) -> None:
        session = lab.session()
        [job] = lab.create()
        lab.acquire(session)
        if was == "RUNNING":
            lab.move([job], "RUNNING", session)
        assert kill(user.client, job)["outcome"] == "told"
        assert lab.state(job) == was
        end(password_server, session)
        last = lab.events(job)[-1]
        assert last["to_state"] == "FAILED"
        assert last["data"] == {"message": f"killed by {user.name}", "killed": True}
        assert last["from_state"] == ("RUN_TIMEOUT" if was == "RUNNING" else was)
        assert lab.acquire(lab.session()) == []

    def test_a_killed_job_that_the_launcher_gives_back_fails(self, lab: Lab, user: User) -> None:
        session = lab.session()
        [job] = lab.create()
        lab.acquire(session)
        kill(user.client, job)
        user.client.put(f"/sessions/{session}", {"job_ids": []})
        assert lab.state(job) == "FAILED"

    def test_a_job_in_a_hook_fails_after_it(self, user: User) -> None:
        lab = Lab(user.client)
        agent = lab.session(num_nodes=0)
        [job] = lab.create()
        lab.acquire(agent, states=["STAGED_IN"])
        assert kill(user.client, job)["outcome"] == "told"
        lab.move([job], "PREPROCESSED", agent)
        assert lab.walk(job)[-3:] == ["STAGED_IN", "PREPROCESSED", "FAILED"]

    def test_a_published_launcher_is_not_told_and_the_job_fails_when_it_lets_go(self, user: User) -> None:
        lab = Lab(user.client)
        session = lab.session(fenced=False, batch_job_id=lab.batch_job()["id"])
        [job] = lab.create()
        lab.move([job], "PREPROCESSED")
        lab.acquire(session)
        assert kill(user.client, job)["outcome"] == "noted"
        lab.move([job], "RUNNING")
        lab.move([job], "RUN_TIMEOUT")
        assert lab.walk(job)[-3:] == ["RUNNING", "RUN_TIMEOUT", "FAILED"]
        assert user.client.get(f"/sessions/{session}/messages") == []

    def test_a_job_forced_to_running_is_killed_by_legal_moves(self, lab: Lab, user: User) -> None:
        [job] = lab.create()
        lab.move([job], "RUNNING")
        assert kill(user.client, job)["outcome"] == "killed"
        assert lab.walk(job)[-3:] == ["RUNNING", "RUN_ERROR", "FAILED"]

    def test_a_killed_job_may_be_forced_to_run_again(self, lab: Lab, user: User) -> None:
        session = lab.session()
        [job] = running(lab, session)
        kill(user.client, job)
        lab.move([job], "RUN_ERROR", session, state_data={"killed": True})
        lab.move([job], "RESTART_READY")
        assert lab.acquire(session) == [job]
        lab.run(session, [job])
        assert lab.state(job) == "JOB_FINISHED"

    def test_a_thousand_waiting_jobs_are_killed_at_once(self, lab: Lab, user: User) -> None:
        ids = lab.create(1000, tags={"set": "all"})
        session = lab.session()
        held = lab.acquire(session, 3)
        began = time.monotonic()
        answer = user.client.post("/jobs/kill", None, params={"tags": ["set:all"]})
        assert time.monotonic() - began < 5.0
        assert {k: answer[k] for k in ("killed", "told", "noted", "ended")} == {
            "killed": 997,
            "told": 3,
            "noted": 0,
            "ended": 0,
        }
        assert (answer["pending"], answer["next"]) == (held, None)
        [message] = user.client.get(f"/sessions/{session}/messages")
        assert message["body"]["job_ids"] == held
        assert lab.state(ids[-1]) == "FAILED"

    def test_more_than_one_call_takes_are_killed_part_by_part(self, lab: Lab, user: User) -> None:
        lab.create(5001)
        first = user.client.post("/jobs/kill", None, params={"site_id": lab.site["id"]})
        assert (first["killed"], first["next"] is not None) == (5000, True)
        rest = {"site_id": lab.site["id"], "after": first["next"]}
        assert user.client.post("/jobs/kill", None, params=rest)["killed"] == 1

    def test_without_a_filter_nothing_is_killed(self, lab: Lab, user: User) -> None:
        [job] = lab.create()
        with pytest.raises(ServerRefused, match="at least one filter"):
            user.client.post("/jobs/kill", None)
        assert lab.state(job) == "PREPROCESSED"

    def test_a_request_that_comes_again_gets_the_same_answer(self, lab: Lab, user: User) -> None:
        [job] = lab.create()
        answers = [user.client.post(f"/jobs/{job}/kill", None, key="once") for _ in range(2)]
        assert answers[0] == answers[1] and answers[0]["outcome"] == "killed"

    def test_a_sites_token_kills_at_its_site_and_says_so(
        self, lab: Lab, user: User, password_server: PasswordServer
    ) -> None:
        [job] = lab.create()
        token = user.client.post("/auth/site-tokens", {"site_id": lab.site["id"]})["token"]
        with Client(password_server.url, token) as client:
            assert kill(client, job)["outcome"] == "killed"
        assert f"token of site {lab.site['id']}" in lab.events(job)[-1]["data"]["message"]


class TestStream:
    def test_messages_wait_for_the_stream_and_come_until_they_are_answered(
        self, lab: Lab, user: User, password_server: PasswordServer
    ) -> None:
        session = lab.session()
        first, second = running(lab, session, 2)
        for job in (first, second):
            kill(user.client, job)
        for expected in ([first, second], [second]):
            with Listener(password_server, user, session_id=session) as stream:
                found = stream.get("messages").data
            assert [message["job_id"] for message in found] == expected
            user.client.put(f"/sessions/{session}/messages/{found[0]['id']}", {"answer": {}})

    def test_a_stream_without_the_session_hears_none(
        self, lab: Lab, user: User, password_server: PasswordServer
    ) -> None:
        session, other = lab.session(), lab.session()
        [job] = running(lab, session)
        with (
            Listener(password_server, user) as plain,
            Listener(password_server, user, session_id=other) as theirs,
        ):
            kill(user.client, job)
            for stream in (plain, theirs):
                assert stream.get("messages", "beat").name == "beat"

    def test_a_message_past_its_deadline_is_not_sent(
        self, lab: Lab, user: User, password_server: PasswordServer
    ) -> None:
        session = lab.session()
        db = password_server.server.db
        with db.write() as tx:
            owner = Owner(user.client.get("/auth/password/me")["id"])
            row = {"id": session, "site_id": lab.site["id"]}
            messages.tell(tx, owner, row, "drain", {}, -1.0)
            kept = messages.tell(tx, owner, row, "drain", {}, 60.0)
        assert [one["id"] for one in user.client.get(f"/sessions/{session}/messages")] == [kept]

    def test_a_session_that_has_ended_is_asked_nothing(self, lab: Lab, user: User) -> None:
        session = lab.session()
        [job] = running(lab, session)
        kill(user.client, job)
        user.client.delete(f"/sessions/{session}")
        assert user.client.get(f"/sessions/{session}/messages") == []

    def test_an_answer_to_no_message_of_the_session_is_refused(self, lab: Lab, user: User) -> None:
        session, other = lab.session(), lab.session()
        [job] = running(lab, session)
        kill(user.client, job)
        [message] = user.client.get(f"/sessions/{session}/messages")
        for path in (
            f"/sessions/{other}/messages/{message['id']}",
            f"/sessions/{session}/messages/999999999",
        ):
            with pytest.raises(NotFoundError):
                user.client.put(path, {"answer": {}})
        assert len(user.client.get(f"/sessions/{session}/messages")) == 1


class TestTail:
    def test_the_launcher_of_a_running_job_is_asked_and_its_answer_comes_back(
        self, lab: Lab, user: User, launch: Callable[..., Launcher], beside: Callable[..., Future[Row]]
    ) -> None:
        launcher = launch()
        [job] = running(lab, launcher.id, workdir="some/where")
        answer = beside(user.client.get, f"/jobs/{job}/tail", {"lines": 3})
        message = launcher.hear()
        assert (message["kind"], message["job_id"]) == ("tail", job)
        asked = {"workdir": "some/where", "lines": 3, "after": None, "hold_sec": 0.0, "final": False}
        assert message["body"] == asked
        launcher.answer(message, text="a\x00b", offset=3, size=5, path="/x/job.out")
        assert answer.result(10) == {
            "text": "a\N{REPLACEMENT CHARACTER}b",
            "offset": 3,
            "size": 5,
            "path": "/x/job.out",
            "state": "RUNNING",
            "num_runs": 1,
        }
        assert launcher.open() == []

    def test_the_agent_is_asked_for_a_job_that_nobody_runs(
        self, lab: Lab, user: User, launch: Callable[..., Launcher], beside: Callable[..., Future[Row]]
    ) -> None:
        agent = launch(agent=True)
        lab.session()  # of a launcher, which does not look into other jobs' folders
        [job] = lab.create()
        answer = beside(user.client.get, f"/jobs/{job}/tail", {"after": 7, "follow": True})
        message = agent.hear()
        assert message["body"]["after"] == 7 and message["body"]["final"]
        assert message["body"]["hold_sec"] > 0
        agent.answer(message, text="", offset=0, size=0, path="/x")
        assert answer.result(10)["state"] == "PREPROCESSED"

    def test_nobody_who_could_look_is_told_at_once(self, lab: Lab, user: User) -> None:
        [job] = lab.create()
        with pytest.raises(ServerRefused, match="balsam site start"):
            user.client.get(f"/jobs/{job}/tail")

    def test_what_the_launcher_can_not_do_is_told(
        self, lab: Lab, user: User, launch: Callable[..., Launcher], beside: Callable[..., Future[Row]]
    ) -> None:
        launcher = launch()
        [job] = running(lab, launcher.id)
        answer = beside(user.client.get, f"/jobs/{job}/tail")
        launcher.answer(launcher.hear(), error="job.out is a door")
        with pytest.raises(ServerRefused, match="is a door"):
            answer.result(10)

    def test_a_silent_launcher_is_named_with_its_last_heartbeat(self, lab: Lab, user: User) -> None:
        session = lab.session(batch_job_id=lab.batch_job()["id"])
        [job] = running(lab, session)
        began = time.monotonic()
        with pytest.raises(ServerRefused) as caught:
            user.client.get(f"/jobs/{job}/tail")
        assert 9.0 < time.monotonic() - began < 20.0
        assert "has not answered; its last heartbeat was at" in str(caught.value)
        assert f"session {session}" in str(caught.value)

    def test_many_who_wait_keep_nobody_else_waiting(
        self, lab: Lab, user: User, password_server: PasswordServer
    ) -> None:
        session = lab.session()
        [job] = running(lab, session)
        waiters = [
            threading.Thread(target=_refused_tail, args=(password_server.url, user.token, job))
            for _ in range(50)
        ]  # more than the server has threads
        for waiter in waiters:
            waiter.start()
        began = time.monotonic()
        while len(user.client.get(f"/sessions/{session}/messages")) < 50:
            assert time.monotonic() - began < 9.0
        asked = time.monotonic()
        assert lab.job(job)["id"] == job
        assert time.monotonic() - asked < 2.0
        for waiter in waiters:
            waiter.join(30)

    def test_lines_and_after_exclude_each_other(self, lab: Lab, user: User) -> None:
        [job] = lab.create()
        with pytest.raises(ServerRefused, match="not both"):
            user.client.get(f"/jobs/{job}/tail", {"lines": 1, "after": 1})


def _refused_tail(url: str, token: str, job: int) -> None:
    with Client(url, token) as client, pytest.raises(ServerRefused):
        client.get(f"/jobs/{job}/tail")


class TestDrain:
    def test_all_launchers_of_the_allocation_are_told_and_one_that_comes_later_too(
        self, lab: Lab, user: User, launch: Callable[..., Launcher], beside: Callable[..., Future[Row]]
    ) -> None:
        batch_job = lab.batch_job()["id"]
        launchers = [launch(batch_job_id=batch_job), launch(batch_job_id=batch_job)]
        other = launch(batch_job_id=lab.batch_job()["id"])
        answer = beside(user.client.post, f"/batch-jobs/{batch_job}/drain", None)
        for launcher in launchers:
            message = launcher.hear()
            assert message["kind"] == "drain"
            launcher.answer(message)
        assert answer.result(10) == {"launchers": 2, "silent": []}
        assert other.open() == []
        assert launch(batch_job_id=batch_job).hear()["kind"] == "drain"

    def test_an_allocation_without_launchers_can_not_be_drained(self, lab: Lab, user: User) -> None:
        batch_job = lab.batch_job()["id"]
        with pytest.raises(ServerRefused, match=f"balsam queue term --id {batch_job}"):
            user.client.post(f"/batch-jobs/{batch_job}/drain", None)

    def test_a_launcher_that_does_not_answer_is_named(self, lab: Lab, user: User) -> None:
        batch_job = lab.batch_job()["id"]
        session = lab.session(batch_job_id=batch_job)
        answer = user.client.post(f"/batch-jobs/{batch_job}/drain", None)
        [sentence] = answer["silent"]
        assert f"the launcher of BatchJob {batch_job} (session {session}) has not answered" in sentence


def test_old_messages_are_swept(lab: Lab, user: User, password_server: PasswordServer) -> None:
    session = lab.session()
    db = password_server.server.db
    owner = Owner(user.client.get("/auth/password/me")["id"])
    row = {"id": session, "site_id": lab.site["id"]}
    with db.write() as tx:
        old = messages.tell(tx, owner, row, "drain", {}, -7200.0)
        fresh = messages.tell(tx, owner, row, "drain", {}, 60.0)
        store.forget(tx.conn, now_us() - 3600 * 1_000_000)
    with db.read() as conn:
        assert [one["id"] for one in store.get_many(conn, owner, [old, fresh])] == [fresh]
