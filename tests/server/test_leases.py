import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from balsam.client.errors import NotFoundError, ServerRefused
from balsam.client.jobs import patch_jobs
from balsam.client.transport import Client
from balsam.core import digest
from balsam.store import tables
from tests.server.lab import Lab
from tests.services import EmbeddedServer, PasswordServer, PostgresServer, User
from tests.waiting import wait_until


@pytest.fixture
def lab(client: Client) -> Lab:
    return Lab(client, hooks=[])


def test_no_job_is_held_by_two_sessions(lab: Lab) -> None:
    jobs = lab.create(5)
    first, second = lab.session(), lab.session()
    assert lab.acquire(first, 3) == jobs[:3]
    assert lab.acquire(second, 3) == jobs[3:]
    assert lab.acquire(second) == []


def test_the_same_key_acquires_the_same_jobs(lab: Lab) -> None:
    lab.create(4)
    session = lab.session()
    once = lab.acquire(session, 2, key="once")
    assert lab.acquire(session, 2, key="once") == once
    assert set(lab.acquire(session, 2, key="twice")).isdisjoint(once)


def test_jobs_are_taken_by_priority_then_size(lab: Lab) -> None:
    [small] = lab.create()
    [large] = lab.create(num_nodes=4)
    [long] = lab.create(wall_time_min=5)
    [urgent] = lab.create(priority=1)
    [packed] = lab.create(node_packing_count=4)
    session = lab.session()
    assert lab.acquire(session, 3) == [urgent, packed, long]
    assert lab.acquire(session) == [small, large]


def test_long_large_first_takes_the_longest_first(lab: Lab) -> None:
    [large] = lab.create(num_nodes=4)
    [long] = lab.create(wall_time_min=5)
    assert lab.acquire(lab.session(), sort_by="long_large_first") == [long, large]


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ({"filter_tags": {"a": "1"}}, ["tagged"]),
        ({"max_wall_time_min": 7.9}, ["tagged", "wide", "ranks"]),
        ({"max_nodes_per_job": 1}, ["tagged", "long", "ranks"]),
        ({"serial_only": True}, ["tagged", "long"]),
        ({"gpus_per_node": 1, "mem_mb_per_node": 100}, ["tagged", "long", "wide"]),
        ({"max_aggregate_nodes": 2.5}, ["tagged", "long"]),
    ],
)
def test_a_session_gets_only_what_it_asks_for(lab: Lab, asked: dict[str, Any], taken: list[str]) -> None:
    jobs = {
        "tagged": lab.create(tags={"a": "1", "b": "2"})[0],
        "wide": lab.create(num_nodes=2)[0],
        "long": lab.create(wall_time_min=60)[0],
        "ranks": lab.create(ranks_per_node=2, gpus_per_rank=1, mem_mb_per_rank=60)[0],
    }
    got = lab.acquire(lab.session(), **asked)
    assert sorted(got) == sorted(jobs[name] for name in taken)


def test_an_ended_session_frees_its_jobs_and_times_out_the_running_ones(lab: Lab) -> None:
    running, waiting = lab.create(2)
    session = lab.session()
    lab.acquire(session)
    lab.move([running], "RUNNING", session)
    lab.client.delete(f"/sessions/{session}")
    assert lab.walk(running)[-2:] == ["RUN_TIMEOUT", "RESTART_READY"]
    assert lab.state(waiting) == "PREPROCESSED"
    assert sorted(lab.acquire(lab.session())) == [running, waiting]
    with pytest.raises(NotFoundError):
        lab.client.put(f"/sessions/{session}", {})


def test_what_an_ended_session_still_reports_changes_nothing(lab: Lab) -> None:
    [job] = lab.create()
    old = lab.session()
    lab.acquire(old)
    lab.move([job], "RUNNING", old)
    lab.client.delete(f"/sessions/{old}")
    new = lab.session()
    lab.acquire(new)
    lab.move([job], "RUNNING", new)
    count, refused = lab.move([job], "RUN_DONE", old)
    assert count == 0 and f"held by session {new}" in refused[0][1]
    assert lab.state(job) == "RUNNING"


def test_a_lost_session_may_not_even_repeat_a_state_or_send_results(lab: Lab) -> None:
    [job] = lab.create()
    old = lab.session()
    lab.acquire(old)
    lab.client.delete(f"/sessions/{old}")
    new = lab.session()
    lab.acquire(new)
    lab.move([job], "RUNNING", new)
    assert lab.move([job], "RUNNING", old)[0] == 0
    late = {"id": job, "serialized_return_value": "late", "return_code": 9}
    count, refused = patch_jobs(lab.client, [late], old)
    assert count == 0 and f"not by session {old}" in refused[0][1]
    assert lab.job(job)["return_code"] is None


def test_states_that_nobody_holds_can_not_be_acquired(lab: Lab) -> None:
    with pytest.raises(ServerRefused, match="JOB_FINISHED: jobs in these states can't be acquired"):
        lab.acquire(lab.session(), states=["JOB_FINISHED"])


def test_what_fits_is_found_behind_what_does_not(lab: Lab) -> None:
    lab.create(3)
    [small] = lab.create(node_packing_count=4)
    assert lab.acquire(lab.session(), 3, max_aggregate_nodes=0.5) == [small]


def test_runs_end_when_their_allocation_ended(lab: Lab) -> None:
    [job] = lab.create()
    batch_job = lab.batch_job()["id"]
    session = lab.session(batch_job_id=batch_job)
    lab.acquire(session)
    lab.move([job], "RUNNING", session)
    end = datetime.now(UTC)
    ended = {"id": batch_job, "state": "finished", "end_time": end.isoformat()}
    lab.client.patch("/batch-jobs/", [ended])
    timeout = next(event for event in lab.events(job) if event["to_state"] == "RUN_TIMEOUT")
    assert datetime.fromisoformat(timeout["timestamp"]) == end.replace(tzinfo=None)


def test_a_late_report_of_an_ended_allocation_does_not_block_the_others(lab: Lab) -> None:
    one, two = lab.batch_job()["id"], lab.batch_job()["id"]
    lab.client.put(f"/batch-jobs/{one}", {"state": "finished"})
    reports = [{"id": one, "state": "running"}, {"id": two, "state": "running"}]
    rows = lab.client.patch("/batch-jobs/", reports)
    assert [row["state"] for row in rows] == ["finished", "running"]


def test_a_server_that_stood_still_ends_no_lease(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "server", lease_sec=1.0)
    server.start()
    assert server.process is not None
    with server.client() as client:
        session = Lab(client).session()
        server.process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        wait_until(lambda: time.monotonic() > stopped + 3.0)
        server.process.send_signal(signal.SIGCONT)
        wait_until(lambda: "stood still" in (server.data / "server.log").read_text())
        assert client.put(f"/sessions/{session}", {"job_ids": []})["job_ids"] == []
    server.kill()


def test_a_heartbeat_tells_a_session_what_is_still_its_own(lab: Lab) -> None:
    jobs = lab.create(3)
    session = lab.session()
    lab.acquire(session)
    beat = lab.client.put(f"/sessions/{session}", {"digest": digest.of_ids(jobs)})
    assert beat["in_step"] is True
    assert lab.client.put(f"/sessions/{session}", {"digest": digest.of_ids(jobs[:2])})["in_step"] is False
    beat = lab.client.put(f"/sessions/{session}", {"job_ids": [*jobs[:2], 10**9]})
    assert beat["job_ids"] == jobs[:2]
    assert lab.job(jobs[2])["session_id"] is None
    assert lab.client.put(f"/sessions/{session}", {}) is None


def test_the_end_of_an_allocation_that_the_agent_saw_ends_its_lease_at_once(lab: Lab) -> None:
    [job] = lab.create()
    batch_job = lab.batch_job()["id"]
    session = lab.session(batch_job_id=batch_job)
    lab.acquire(session)
    lab.move([job], "RUNNING", session)
    lab.client.patch("/batch-jobs/", [{"id": batch_job, "state": "finished", "cause": "killed by signal 9"}])
    assert lab.state(job) == "RESTART_READY"
    timeout = next(event for event in lab.events(job) if event["to_state"] == "RUN_TIMEOUT")
    assert "killed by signal 9" in timeout["data"]["message"]


def test_an_unfenced_holder_moves_jobs_without_naming_itself(lab: Lab) -> None:
    [job] = lab.create()
    session = lab.session(fenced=False, num_nodes=None)
    lab.acquire(session)
    assert lab.move([job], "RUNNING") == (1, [])
    assert lab.move([job], "PREPROCESSED")[0] == 0
    assert lab.move([job], "RUN_DONE") == (1, [])
    assert lab.state(job) == "RUN_DONE"  # its agent is of that release, too, and runs postprocess()


@pytest.fixture
def hasty(new_database: Callable[[], str]) -> Iterator[User]:
    with PasswordServer(new_database(), lease_sec=1.5) as server:
        user = server.new_user()
        yield user
        user.client.close()


def test_a_silent_session_expires_and_its_jobs_run_elsewhere(hasty: User) -> None:
    lab = Lab(hasty.client, hooks=[])
    [job] = lab.create()
    session = lab.session()
    lab.acquire(session)
    lab.move([job], "RUNNING", session)
    wait_until(lambda: lab.state(job) == "RESTART_READY")
    timeout = lab.events(job)[-2]
    assert timeout["data"]["message"] == "Session expired: job was stuck in RUNNING state"
    assert lab.acquire(lab.session()) == [job]


def test_a_session_that_can_not_be_ended_keeps_no_other_one_alive(postgres: PostgresServer) -> None:
    with PasswordServer(postgres.new_database(), lease_sec=1.5) as server:
        lab = Lab(server.new_user().client, hooks=[])
        for name in ("Second", "Third"):
            [job] = lab.create()
            session = lab.session()
            lab.acquire(session)
            lab.move([job], "RUNNING", session)
            lab.app = lab.add_app(name, [])
        with server.server.db.write() as tx:  # damage that no request can do
            tx.conn.execute(delete(tables.apps).where(tables.apps.c.name == "App"))
        wait_until(lambda: lab.state(job) == "RESTART_READY")
        lab.client.close()


def test_a_session_whose_allocation_is_seen_running_outlives_the_short_lease(hasty: User) -> None:
    lab = Lab(hasty.client, hooks=[])
    batch_job = lab.batch_job()["id"]
    session = lab.session(batch_job_id=batch_job)
    forgotten = lab.session()

    def forgotten_is_gone() -> bool:
        lab.client.patch("/batch-jobs/", [{"id": batch_job, "state": "running"}])
        live = [row["id"] for row in lab.client.get("/sessions/")["results"]]
        return forgotten not in live and session in live

    wait_until(forgotten_is_gone)


def test_a_launcher_whose_clock_is_far_off_is_told_of(lab: Lab) -> None:
    batch_job = lab.batch_job()["id"]
    lab.client.put(f"/batch-jobs/{batch_job}", {"state": "running"})
    session = lab.session(batch_job_id=batch_job)
    lab.client.put(f"/sessions/{session}", {"clock_ahead_us": 600_000_000})
    told = lab.client.get(f"/batch-jobs/{batch_job}/why")["sentence"]
    host = f"the host of the launcher of BatchJob {batch_job} (session {session})"
    assert f"But: the clock of {host} is 600 s ahead of the server's" in told
    health = {site["id"]: site["health"] for site in lab.client.get("/overview")["sites"]}
    assert f"the clock of {host} is 600 s ahead of the server's" in health[lab.site["id"]]
    [job] = lab.create()
    assert "is 600 s ahead" in lab.client.get(f"/jobs/{job}/why")["sentence"]
    lab.client.put(f"/sessions/{session}", {"clock_ahead_us": 0})
    assert "clock" not in lab.client.get(f"/batch-jobs/{batch_job}/why")["sentence"]


def test_launchers_that_die_of_a_job_count_as_its_runs(lab: Lab) -> None:
    """Of those that the launcher held, only the one that it was preparing or starting counts."""
    guilty, beside = lab.create(2, max_restarts=1)
    for death in (1, 2):
        session = lab.session()
        lab.acquire(session)
        for _ in range(2):  # told again under its key, it counts once
            lab.client.post(f"/sessions/{session}/death", {"job_id": guilty}, key=f"death-{session}")
        lab.client.delete(f"/sessions/{session}")
        assert lab.state(guilty) == ("PREPROCESSED" if death == 1 else "FAILED")
    assert lab.state(beside) == "PREPROCESSED"
    told = lab.events(guilty)[-1]["data"]["message"]
    assert told == "2 launchers died while preparing or starting this job: max_restarts is 1"
    # Whoever retries it begins anew.
    lab.client.put(f"/jobs/{guilty}", {"state": "RESTART_READY"})
    lab.client.post(f"/sessions/{session}/death", {"job_id": guilty})
    assert lab.state(guilty) == "RESTART_READY"


def test_a_death_does_not_count_on_a_job_that_has_started(lab: Lab) -> None:
    (job,) = lab.create(1, max_restarts=0)
    session = lab.session()
    lab.acquire(session)
    lab.move([job], "RUNNING", session)
    lab.client.post(f"/sessions/{session}/death", {"job_id": job})
    assert lab.state(job) == "RUNNING"


def test_events_of_a_job_are_in_order_whatever_its_launchers_clock_says(lab: Lab) -> None:
    (job,) = lab.create()
    session = lab.session()
    lab.acquire(session)
    before = datetime.now(UTC) - timedelta(minutes=2)
    for state, moment in (("RUNNING", before), ("RUN_DONE", before - timedelta(days=1))):
        lab.move([job], state, session, state_timestamp=moment.isoformat())
    stamps = [event["timestamp"] for event in lab.events(job)]
    assert stamps == sorted(stamps) and "RUN_DONE" in lab.walk(job)


def test_an_allocation_that_is_put_back_begins_anew_and_ends_what_ran_in_it(lab: Lab) -> None:
    """Kind: what a second life does is taken for a part of the first, or the other way round."""
    batch_job = lab.batch_job()["id"]
    running = {"state": "running", "start_time": datetime.now(UTC).isoformat()}
    lab.client.put(f"/batch-jobs/{batch_job}", running)
    first = lab.session(batch_job_id=batch_job)
    [job] = lab.create()
    assert lab.acquire(first) == [job]
    lab.move([job], "RUNNING", first)
    requeued = datetime.now(UTC)
    second = lab.session(batch_job_id=batch_job)  # it runs again before anybody has told of it
    told = {"id": batch_job, "state": "queued", "requeued": requeued.isoformat()}
    [record] = lab.client.patch("/batch-jobs/", [told])
    assert (record["state"], record["start_time"]) == ("queued", None)
    assert lab.walk(job)[-2:] == ["RUN_TIMEOUT", "RESTART_READY"]
    assert "was put back into the queue" in str(lab.events(job)[-2]["data"])
    assert lab.acquire(second) == [job]
    lab.client.patch("/batch-jobs/", [told])
    assert lab.job(job)["session_id"] == second


def test_allocations_are_chosen_by_how_they_ended(lab: Lab) -> None:
    causes = ("node failure: nid1", "walltime", "exit 10", "exit 1")
    ids = [lab.batch_job()["id"] for _ in causes]
    ends = zip(ids, causes, strict=True)
    lab.client.patch("/batch-jobs/", [{"id": i, "state": "finished", "cause": c} for i, c in ends])

    def chosen(cause: str) -> list[int]:
        found = lab.client.get("/batch-jobs/", {"cause": cause, "site_id": lab.site["id"]})
        return [row["id"] for row in found["results"]]

    assert chosen("node failure") == ids[:1] and chosen("exit") == ids[2:] and chosen("%") == []
