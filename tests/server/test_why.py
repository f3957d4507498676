"""Planted faults, and what `why` says of each: the server is real, the site is simulated by its requests.

tests/site/test_why.py and tests/launcher/test_why.py plant those that need a real agent or launcher.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import update

from balsam.client.errors import NotFoundError
from balsam.client.transport import Client
from balsam.core.clock import from_us, now_us
from balsam.logic import messages
from balsam.logic.reasons import when
from balsam.store.owner import Owner
from balsam.store.tables import jobs, sessions, sites
from tests.server.lab import Lab
from tests.services import PasswordServer, User

HOUR_US = 3_600_000_000


def timeless(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without how long ago things were, which grows from one request to the next."""
    return [{**answer, "sentence": re.sub(r"\(\d+ \w+ ago\)", "", answer["sentence"])} for answer in answers]


class Scene(Lab):
    """A lab whose site has an agent, and what is planted at it."""

    def __init__(self, server: PasswordServer, user: User, hooks: list[str] | None = None) -> None:
        super().__init__(user.client, hooks=hooks if hooks is not None else [])
        self.server = server
        self.name = self.site["name"]
        self.agent = self.session(num_nodes=0)

    def why(self, job_id: int) -> tuple[str, str]:
        answer = self.client.get(f"/jobs/{job_id}/why")
        assert timeless(self.client.get("/jobs/why", {"id": job_id})) == timeless([answer])
        counted = {"code": answer["code"], "site_id": self.site["id"], "count": 1, "job_id": job_id}
        counts = self.client.get("/jobs/why/counts", {"id": job_id})
        assert all((row.pop("cause") is not None) == row["code"].startswith("failed") for row in counts)
        assert timeless(counts) == timeless([{**counted, "sentence": answer["sentence"]}])
        assert f"{job_id}" in answer["sentence"]
        return answer["code"], answer["sentence"]

    def queue_why(self, batch_job_id: int) -> tuple[str, str]:
        answer = self.client.get(f"/batch-jobs/{batch_job_id}/why")
        assert timeless(self.client.get("/batch-jobs/why", {"id": batch_job_id})) == timeless([answer])
        assert f"BatchJob {batch_job_id} " in answer["sentence"]
        return answer["code"], answer["sentence"]

    def counts(self, **filters: Any) -> dict[str, int]:
        rows = self.client.get("/jobs/why/counts", {"site_id": self.site["id"], **filters})
        return {
            code: sum(row["count"] for row in rows if row["code"] == code)
            for code in {r["code"] for r in rows}
        }

    def allocation(self, state: str = "running", minutes_ago: float = 1, **values: Any) -> int:
        """A BatchJob in this state, as its agent would have told."""
        number = int(self.batch_job(**values)["id"])
        started = from_us(int(now_us() - minutes_ago * 60e6)).isoformat()
        told = {"state": state, "scheduler_id": 77} | ({"start_time": started} if state == "running" else {})
        self.client.put(f"/batch-jobs/{number}", told)
        return number

    def launcher(self, batch_job_id: int, gpus: int = 4, mem_mb: int = 1000, **values: Any) -> int:
        takes = {
            "nodes": [{"cpus": 8, "gpus": gpus, "mem_mb": mem_mb}],
            "filter_tags": values.pop("tags", {}),
        }
        return self.session(batch_job_id=batch_job_id, takes=takes, **values)

    def drain(self, batch_job_id: int) -> None:
        """Tells the launchers, without waiting for their answers."""
        with self.server.server.db.write() as tx:
            row = tx.conn.execute(sites.select().where(sites.c.id == self.site["id"])).mappings().one()
            messages.drain(tx, Owner(row["owner_id"]), batch_job_id)

    def agent_goes(self) -> None:
        self.client.delete(f"/sessions/{self.agent}")

    def falls_silent(self, session: int) -> int:
        """Its last heartbeat was ten minutes ago; when that was.

        The session of an allocation that the agent has just seen running outlives that.
        """
        heartbeat = now_us() - HOUR_US // 6
        with self.server.server.db.write() as tx:
            tx.conn.execute(update(sessions).where(sessions.c.id == session).values(heartbeat=heartbeat))
        return heartbeat


@pytest.fixture(scope="module")
def owner(password_server: PasswordServer) -> Iterator[User]:
    """Of all scenes: each has a site of its own."""
    user = password_server.new_user()
    yield user
    user.client.close()


@pytest.fixture
def scene(password_server: PasswordServer, owner: User) -> Scene:
    return Scene(password_server, owner)


@pytest.fixture
def hooked(password_server: PasswordServer, owner: User) -> Scene:
    """One whose app has hooks."""
    return Scene(password_server, owner, hooks=["preprocess", "handle_error", "handle_timeout"])


@pytest.fixture
def lab(owner: User) -> Lab:
    """A site that never had an agent."""
    return Lab(owner.client, hooks=[])


# ---- nodes ----


def test_no_allocation_was_asked_for(scene: Scene) -> None:
    [job] = scene.create()
    assert scene.why(job) == (
        "no_allocation",
        f"Job {job} waits for nodes, and no BatchJob is queued or running at site {scene.name}: run "
        "`balsam queue submit`.",
    )


def test_the_agent_is_down_before_it_has_submitted_the_allocation(scene: Scene) -> None:
    [job] = scene.create()
    batch_job = scene.batch_job()["id"]
    assert scene.why(job)[0] == "not_submitted"
    assert scene.queue_why(batch_job)[0] == "not_submitted"
    scene.agent_goes()
    code, sentence = scene.why(job)
    assert code == "no_agent"
    assert (
        f"Job {job} waits for BatchJob {batch_job} at site {scene.name}, which is not submitted" in sentence
    )
    assert f"the agent of site {scene.name} was last heard of at" in sentence
    assert sentence.endswith("run `balsam site start` in /a/site.")
    code, sentence = scene.queue_why(batch_job)
    assert code == "no_agent" and "run `balsam site start` in /a/site" in sentence


def test_an_agent_has_never_been_started(lab: Lab) -> None:
    [job] = lab.create()
    [hooked] = lab.create(app_id=lab.add_app("Hooked", ["preprocess"])["id"])
    told = lab.client.get(f"/jobs/{hooked}/why")
    assert told["code"] == "no_agent" and "has never been heard of" in told["sentence"]
    told = lab.client.get(f"/jobs/{job}/why")
    assert told["code"] == "no_allocation" and "has never been heard of" in told["sentence"]


def test_the_allocation_is_still_queued(scene: Scene) -> None:
    [job] = scene.create()
    batch_job = scene.allocation("queued")
    code, sentence = scene.why(job)
    assert code == "queued"
    assert (
        f"Job {job} waits for BatchJob {batch_job} at site {scene.name}, which has been waiting" in sentence
    )
    code, sentence = scene.queue_why(batch_job)
    assert code == "queued" and "in queue local" in sentence and "as 77, for 1 node for 10 min" in sentence


def test_a_queue_is_full(scene: Scene) -> None:
    batch_job = scene.batch_job()["id"]
    sentence = "queue local takes 1 allocations at once, and has them"
    scene.client.put(f"/batch-jobs/{batch_job}", {"status_info": {"waiting": sentence}})
    code, told = scene.queue_why(batch_job)
    assert code == "waits_its_turn" and told.endswith(f"{sentence}.")


def test_tags_of_the_allocation_match_nothing(scene: Scene) -> None:
    [job] = scene.create(tags={"lane": "b"})
    first = scene.allocation(filter_tags={"lane": "a"})
    scene.launcher(first, tags={"lane": "a"})
    code, sentence = scene.why(job)
    assert code == "no_fit_tags"
    assert f"BatchJob {first}: it takes only jobs with the tags lane=a; tag the job so" in sentence


def test_tags_of_the_sites_settings_count_where_the_launcher_tells_them(scene: Scene) -> None:
    [job] = scene.create()
    batch_job = scene.allocation()
    scene.launcher(batch_job, tags={"site": "only"})
    code, sentence = scene.why(job)
    assert code == "no_fit_tags" and "site=only" in sentence


def test_a_job_asks_for_more_gpus_than_any_node_has(scene: Scene) -> None:
    [job] = scene.create(gpus_per_rank=4, ranks_per_node=2)
    scene.client.put(f"/sites/{scene.site['id']}", {"nodes": [{"cpus": 8, "gpus": 4, "mem_mb": 9000}]})
    code, sentence = scene.why(job)
    assert code == "never_fits"
    assert f"Job {job} can't run at site {scene.name}: it asks for 8 GPUs and 0 MB per node, and" in sentence
    assert "a node of its site has 4 GPUs" in sentence and "But:" not in sentence


def test_the_nodes_of_an_allocation_have_too_few_gpus_or_too_little_memory(scene: Scene) -> None:
    kinds = [{"cpus": 8, "gpus": 4, "mem_mb": 9000}, {"cpus": 8, "gpus": 0, "mem_mb": 99000}]
    scene.client.put(f"/sites/{scene.site['id']}", {"nodes": kinds})
    [wants_gpus] = scene.create(gpus_per_rank=2)
    [wants_memory] = scene.create(mem_mb_per_rank=20_000)
    batch_job = scene.allocation()
    scene.launcher(batch_job, gpus=1, mem_mb=9000)
    code, sentence = scene.why(wants_gpus)
    assert code == "no_fit_gpus"
    assert f"BatchJob {batch_job}: the job asks for 2 GPUs per node, and its nodes have 1" in sentence
    code, sentence = scene.why(wants_memory)
    assert code == "no_fit_memory" and "20000 MB per node, and its nodes have 9000" in sentence
    assert scene.counts() == {"no_fit_gpus": 1, "no_fit_memory": 1}


def test_what_nodes_have_is_known_from_the_launcher_that_ran_there_last(scene: Scene) -> None:
    [job] = scene.create(gpus_per_rank=8)
    assert scene.why(job)[0] == "no_allocation"
    session = scene.launcher(scene.allocation(), gpus=4)
    scene.client.delete(f"/sessions/{session}")
    assert scene.why(job)[0] == "never_fits"


def test_a_jobs_wall_time_is_longer_than_what_is_left(scene: Scene) -> None:
    [job] = scene.create(wall_time_min=30)
    batch_job = scene.allocation(minutes_ago=40.5, wall_time_min=60)
    scene.launcher(batch_job)
    assert scene.why(job) == (
        "no_fit_time",
        f"Job {job} fits no active BatchJob of site {scene.name}. BatchJob {batch_job}: the job needs 30 min "
        "and 19 min are left; ask for a longer one, or lower the job's wall_time_min.",
    )


def test_a_job_needs_more_nodes_or_another_mode_than_the_allocation_has(scene: Scene) -> None:
    [wide] = scene.create(num_nodes=4)
    [ranks] = scene.create(ranks_per_node=2)
    scene.launcher(scene.allocation())
    assert scene.why(ranks)[0] == "no_fit_mode" and "balsam queue submit -j mpi" in scene.why(ranks)[1]
    scene.allocation("queued", job_mode="mpi", num_nodes=2)
    code, sentence = scene.why(wide)
    assert code == "no_fit_nodes" and "the job needs 4 nodes and it has 2" in sentence
    assert "1 other BatchJob will not take it either" in sentence


def test_every_partition_excludes_the_job(scene: Scene) -> None:
    parts = [
        {"job_mode": "serial", "num_nodes": 1, "filter_tags": {}},
        {"job_mode": "mpi", "num_nodes": 1, "filter_tags": {"kind": "mpi"}},
    ]
    [job] = scene.create(ranks_per_node=2)
    batch_job = scene.allocation(num_nodes=2, job_mode="mpi", partitions=parts)
    for number, tags in enumerate(({}, {"kind": "mpi"})):
        scene.launcher(batch_job, partition=number, tags=tags)
    code, sentence = scene.why(job)
    assert code == "no_fit_mode" and f"BatchJob {batch_job}" in sentence
    [tagged] = scene.create(ranks_per_node=2, tags={"kind": "mpi"})
    assert scene.why(tagged)[0] == "next"


def test_the_only_allocation_is_being_drained_or_ended(scene: Scene) -> None:
    [job] = scene.create()
    batch_job = scene.allocation()
    scene.launcher(batch_job)
    assert scene.why(job)[0] == "next"
    scene.drain(batch_job)
    code, sentence = scene.why(job)
    assert code == "no_fit_ending" and "is being drained" in sentence
    scene.client.put(f"/batch-jobs/{batch_job}", {"state": "pending_deletion"})
    assert "is being ended, as you asked" in scene.why(job)[1]
    assert scene.queue_why(batch_job)[0] == "ending"


def test_an_allocation_runs_without_a_launcher(scene: Scene) -> None:
    [job] = scene.create()
    batch_job = scene.allocation()
    code, sentence = scene.why(job)
    assert code == "no_launcher" and f"`balsam queue why {batch_job}`" in sentence
    code, sentence = scene.queue_why(batch_job)
    assert code == "no_launcher"
    assert sentence.endswith(f"its output is /a/site/qsubmit/qlaunch{batch_job:05d}.output.")
    heartbeat = scene.falls_silent(scene.launcher(batch_job))
    code, sentence = scene.queue_why(batch_job)
    assert code == "launcher_silent" and when(heartbeat) in sentence


# ---- hooks, parents, transfers ----


def test_the_agent_is_down_while_a_hook_is_to_be_called(hooked: Scene) -> None:
    [job] = hooked.create()
    code, sentence = hooked.why(job)
    assert code == "hook" and f"for the agent of site {hooked.name} to call preprocess()" in sentence
    hooked.agent_goes()
    code, sentence = hooked.why(job)
    assert code == "no_agent"
    assert f"Job {job} waits for preprocess(), and the agent of site {hooked.name} was last heard" in sentence


def test_a_hook_hangs_and_others_wait_behind_it(hooked: Scene) -> None:
    hanging, behind, last = hooked.create(3)
    assert hooked.acquire(hooked.agent, states=["STAGED_IN"]) == [hanging, behind, last]
    assert hooked.why(behind)[0] == "hook_next"
    began = now_us() - HOUR_US
    busy = [{"job_id": hanging, "since_us": began}]
    hooked.client.put(f"/sessions/{hooked.agent}", {"busy": busy})
    code, sentence = hooked.why(hanging)
    assert code == "hook_running"
    assert f"preprocess() of job {hanging} has been running at the site's agent" in sentence
    assert f"since {when(began)} (60 min ago)" in sentence and f"`balsam job kill {hanging}`" in sentence
    code, sentence = hooked.why(behind)
    assert code == "hook_queued" and f"the oldest since {when(began)}" in sentence
    assert f"`balsam job kill {hanging}`" in sentence
    assert hooked.counts() == {"hook_queued": 2, "hook_running": 1}
    [row] = hooked.client.get("/jobs/why/counts", {"site_id": hooked.site["id"], "id": [behind, last]})
    assert (row["code"], row["count"], row["job_id"]) == ("hook_queued", 2, behind)


def test_an_agent_that_can_begin_no_hook_tells_why(hooked: Scene) -> None:
    """Kind: what keeps a part from its work, which that part alone knows."""
    [job] = hooked.create()
    assert hooked.acquire(hooked.agent, states=["STAGED_IN"]) == [job]
    hooked.client.put(f"/sessions/{hooked.agent}", {"busy": [], "trouble": "the disk is full"})
    code, sentence = hooked.why(job)
    assert code == "node_trouble"
    who = f"the site's agent (session {hooked.agent})"
    assert sentence == f"preprocess() of job {job} waits at {who}, which tells: the disk is full."
    hooked.client.put(f"/sessions/{hooked.agent}", {"busy": [], "trouble": ""})
    assert hooked.why(job)[0] == "hook_next"


def test_the_sites_token_was_revoked(scene: Scene) -> None:
    [job] = scene.create(app_id=scene.add_app("Hooked", ["preprocess"])["id"])
    scene.client.post("/auth/site-tokens", {"site_id": scene.site["id"]})
    [token] = [one for one in scene.client.get("/auth/site-tokens") if one["site_id"] == scene.site["id"]]
    scene.client.delete(f"/auth/site-tokens/{token['id']}")
    scene.agent_goes()
    code, sentence = scene.why(job)
    assert code == "no_agent" and "the site's token was revoked at" in sentence
    assert sentence.endswith("run `balsam site token renew`, then `balsam site start`, in /a/site.")


def test_parents_failed_went_or_are_not_done(scene: Scene) -> None:
    bad, gone, slow = scene.create(3)
    [of_bad] = scene.create(parent_ids=[bad, slow])
    [of_gone] = scene.create(parent_ids=[gone])
    [of_slow] = scene.create(parent_ids=[slow])
    [lenient] = scene.create(parent_ids=[bad, slow], parents_must="end")
    scene.client.delete(f"/jobs/{gone}")
    scene.client.put(f"/jobs/{bad}", {"state": "FAILED"})
    code, sentence = scene.why(of_bad)
    assert code == "parent_failed" and f"its parent {bad} FAILED (`balsam job why {bad}`)" in sentence
    assert scene.why(of_gone)[0] == "parent_gone" and f"{gone} of job {of_gone}" in scene.why(of_gone)[1]
    assert scene.why(of_slow) == (
        "parent_unfinished",
        f"Job {of_slow} waits for its parent, job {slow}, which is PREPROCESSED (`balsam job why {slow}`). "
        f"Job {slow} waits for nodes, and no BatchJob is queued or running at site {scene.name}: run `balsam "
        "queue submit`.",
    )
    assert scene.why(lenient)[0] == "parent_unfinished"
    assert scene.counts(state="AWAITING_PARENTS") == {
        "parent_failed": 1,
        "parent_gone": 1,
        "parent_unfinished": 2,
    }


def test_a_chain_of_parents_is_followed_to_its_root(scene: Scene) -> None:
    """A root that failed, one that was deleted, one that goes on; parents that must only end stop a chain."""
    [root] = scene.create()
    [child] = scene.create(parent_ids=[root])
    [grandchild] = scene.create(parent_ids=[child])
    [waits_long] = scene.create(parent_ids=[grandchild], parents_must="end")
    code, sentence = scene.why(grandchild)
    assert code == "parent_unfinished"
    assert f"That waits for job {root}, which is PREPROCESSED. Job {root} waits for nodes" in sentence
    scene.client.put(f"/jobs/{root}", {"state": "RUNNING"})
    data = {"returncode": 127, "error": "bash: x: command not found\n----\n"}
    scene.client.put(f"/jobs/{root}", {"state": "RUN_ERROR", "state_data": data})
    for job, chain in ((grandchild, f"job {child}"), (waits_long, f"job {grandchild}, that for job {child}")):
        code, sentence = scene.why(job)
        assert code == "ancestor_failed"
        assert (
            f"Job {job} can never start as things are: it waits for {chain}, and that for job {root}, which "
            "FAILED: exit code 127: bash: x: command not found. Mend and retry"
        ) in sentence
    assert scene.counts(state="AWAITING_PARENTS") == {"parent_failed": 1, "ancestor_failed": 2}
    backlog = scene.client.get("/analytics/jobs/backlog", {"site_id": scene.site["id"]})[0]
    assert (backlog["left"], backlog["never_starting"], backlog["failed"]) == (0, 3, 1)
    assert backlog["seconds_left"] == 0
    scene.client.delete(f"/jobs/{root}")
    code, sentence = scene.why(grandchild)
    assert code == "ancestor_failed" and f"job {root}, which was deleted" in sentence


def test_jobs_that_failed_are_counted_by_their_cause(scene: Scene) -> None:
    """Of runs by their signature, signals apart; of others by what their last event says."""
    jobs = scene.create(6)
    scene.client.put(
        f"/jobs/{jobs[5]}", {"state": "FAILED", "state_data": {"message": "the workdir is gone"}}
    )
    session = scene.session(num_nodes=10)
    scene.acquire(session)
    scene.move(jobs[:5], "RUNNING", session)
    ends = [(1, f"Error: step {number}\n----\n") for number in (7, 12)] + [(-9, ""), (-11, ""), (-11, "")]
    for job, (code, text) in zip(jobs, ends, strict=False):
        data = {"returncode": code, "error": text}
        scene.move([job], "RUN_ERROR", session, state_data=data)
    rows = scene.client.get("/jobs/why/counts", {"site_id": scene.site["id"]})
    assert {row["cause"]: (row["count"], row["job_id"]) for row in rows} == {
        "1: Error: step #": (2, jobs[0]),
        "-11: killed by signal 11 (SIGSEGV)": (2, jobs[3]),
        "-9: killed by signal 9 (SIGKILL)": (1, jobs[2]),
        "the workdir is gone": (1, jobs[5]),
    }


def test_a_transfer_waits_and_then_fails(scene: Scene) -> None:
    slot = {"required": False, "direction": "in", "local_path": "in.dat"}
    app = scene.add_app("Staged", [], transfers={"input": slot})
    transfers = {"input": {"location_alias": "dtn", "path": "/far/in.dat"}}
    [job] = scene.create(app_id=app["id"], transfers=transfers)
    code, sentence = scene.why(job)
    assert code == "transfer"
    assert f"Job {job} waits for 1 transfer of its files, e.g. in.dat, which is pending, since" in sentence
    scene.agent_goes()
    assert scene.why(job)[0] == "no_agent"
    [item] = scene.client.get("/transfers/", {"job_id": job})["results"]
    broken = {"state": "error", "task_id": "", "transfer_info": {"error": "permission denied"}}
    scene.client.put(f"/transfers/{item['id']}", broken)
    code, sentence = scene.why(job)
    assert code == "transfer_error"
    assert f"Job {job} is READY, and the transfer of in.dat (dtn:/far/in.dat) failed: permission" in sentence


# ---- runs ----


def test_a_launcher_that_holds_a_job_is_gone(scene: Scene) -> None:
    running, taken = scene.create(2)
    session = scene.launcher(scene.allocation())
    scene.acquire(session)
    scene.move([running], "RUNNING", session)
    assert scene.why(running)[0] == "running" and f"(session {session})" in scene.why(running)[1]
    assert scene.why(taken)[0] == "held"
    scene.client.put(f"/sites/{scene.site['id']}", {"path": "/a/site"})
    heartbeat = scene.falls_silent(session)
    code, sentence = scene.why(running)
    assert code == "held_silent" and when(heartbeat) in sentence and "goes to RUN_TIMEOUT" in sentence
    assert "is free again" in scene.why(taken)[1]
    assert scene.counts() == {"held_silent": 2}


def test_a_job_was_forced_to_run_or_to_be_created(scene: Scene) -> None:
    forced, created = scene.create(2)
    scene.move([forced], "RUNNING")
    code, sentence = scene.why(forced)
    assert code == "running_unheld" and f"Job {forced} was forced to RUNNING at" in sentence
    with scene.server.server.db.write() as tx:
        tx.conn.execute(update(jobs).where(jobs.c.id == created).values(state="CREATED"))
    assert scene.why(created)[0] == "forced"


def test_a_job_failed_at_once_or_past_its_restarts(scene: Scene) -> None:
    [once] = scene.create()
    [often] = scene.create(max_restarts=1)
    for number in range(2):
        session = scene.session()
        assert often in scene.acquire(session)
        scene.move([often], "RUNNING", session)
        scene.move([often], "RUN_TIMEOUT", session, state_data={"message": f"node lost, {number}"})
        scene.client.delete(f"/sessions/{session}")
    session = scene.session()
    scene.acquire(session)
    scene.move([once], "RUNNING", session)
    told = {"returncode": 127, "error": "sh: 1: simulat: not found\n"}
    scene.move([once], "RUN_ERROR", session, state_data=told)
    code, sentence = scene.why(once)
    assert code == "failed" and f"Job {once} failed at " in sentence
    assert "exit code 127: sh: 1: simulat: not found" in sentence and f"`balsam job tail {once}`" in sentence
    code, sentence = scene.why(often)
    assert code == "failed_after_retries" and f"Job {often} ran 2 times and failed at" in sentence
    assert "max_restarts is 1" in sentence and "node lost, 1" in sentence


def test_an_app_was_deleted_with_its_jobs(scene: Scene) -> None:
    [job] = scene.create()
    scene.client.delete(f"/apps/{scene.app['id']}")
    with pytest.raises(NotFoundError):
        scene.client.get(f"/jobs/{job}/why")
    assert scene.counts() == {}


# ---- allocations that ended ----


@pytest.mark.parametrize(
    ("told", "code", "words"),
    [
        ({"state": "finished", "cause": "exit 0"}, "finished", "told no reason"),
        ({"state": "finished", "cause": "walltime"}, "finished", "walltime"),
        (
            {"state": "finished", "cause": "exit 2", "status_info": {"error": "balsam launcher:\nno site"}},
            "ended_early",
            "exit 2: balsam launcher: no site",
        ),
        (
            {"state": "submit_failed", "status_info": {"error": "this site has no queue 'x'"}},
            "submit_failed",
            "this site has no queue 'x'. Mend that",
        ),
        (
            {"state": "pending_submission", "status_info": {"scheduler": "sbatch is not on PATH"}},
            "scheduler_fails",
            "can't work with the site's scheduler: sbatch is not on PATH",
        ),
    ],
)
def test_an_allocation_says_why_it_ended_or_was_refused(
    scene: Scene, told: dict[str, Any], code: str, words: str
) -> None:
    batch_job = scene.batch_job()["id"]
    scene.client.put(f"/batch-jobs/{batch_job}", told)
    found, sentence = scene.queue_why(batch_job)
    assert found == code and words in sentence


@pytest.mark.parametrize(
    ("asked", "told", "words"),
    [
        (
            {"filter_tags": {"lane": "a"}},
            {"state": "finished", "cause": "exit 0"},
            "tags lane=a; tag the job so",
        ),
        (
            {"wall_time_min": 5},
            {"state": "finished", "cause": "exit 0"},
            "the job needs 9 min and 5 min are left",
        ),
        (
            {},
            {"state": "finished", "cause": "exit 2", "status_info": {"error": "no such module"}},
            "exit 2: no such module. Mend that before you ask for another.",
        ),
        (
            {},
            {"state": "submit_failed", "status_info": {"error": "there is no queue 'x'"}},
            "there is no queue 'x'. Mend that",
        ),
    ],
)
def test_what_was_wrong_with_the_last_allocation_is_said_of_the_jobs_that_wait(
    scene: Scene, asked: dict[str, Any], told: dict[str, Any], words: str
) -> None:
    """Also after it has ended: that another one like it would do no better."""
    [job] = scene.create(wall_time_min=9)
    batch_job = scene.allocation(**asked)
    ended = {"end_time": from_us(now_us()).isoformat()} if told["state"] == "finished" else {}
    scene.client.put(f"/batch-jobs/{batch_job}", {**told, **ended})
    code, sentence = scene.why(job)
    assert (
        code == "no_allocation" and f"The last one: BatchJob {batch_job} " in sentence and words in sentence
    )
    unfit = f"Job {job}, which waits at the site, does not fit it"
    assert (unfit in scene.queue_why(batch_job)[1]) is bool(asked)


def test_an_allocation_names_the_jobs_that_wait_and_do_not_fit_it(scene: Scene) -> None:
    """The most frequent reason, with its remedy; nothing where all fit, or where it is being ended."""
    others = scene.create(3)[1:]
    scene.client.patch("/jobs/", [{"id": one, "num_nodes": 2} for one in others])
    batch_job = scene.allocation("queued", job_mode="mpi")
    example = f"e.g. job {others[0]}: the job needs 2 nodes and it has 1; ask for a larger one"
    assert f"2 jobs that wait at the site do not fit it, {example}." in scene.queue_why(batch_job)[1]
    scene.client.put(f"/batch-jobs/{batch_job}", {"state": "pending_deletion"})
    assert "do not fit" not in scene.queue_why(batch_job)[1]
    scene.client.put(f"/batch-jobs/{batch_job}", {"state": "finished"})
    assert scene.counts() == {"no_allocation": 3}


def test_who_keeps_the_places_of_a_launcher_is_named(scene: Scene) -> None:
    first, second, taken, waiting = scene.create(4)
    batch_job = scene.allocation()
    session = scene.launcher(batch_job)
    launcher = f"the launcher of BatchJob {batch_job} (session {session})"
    assert f"{launcher} has taken nothing and runs nothing" in scene.why(waiting)[1]
    assert scene.acquire(session, 3) == [first, second, taken]
    scene.move([second], "RUNNING", session)
    scene.move([first], "RUNNING", session)
    code, sentence = scene.why(waiting)
    assert (
        code == "next" and f"{launcher} runs 2 jobs, the longest of them job {second}, which has" in sentence
    )
    assert "and has 1 other job in hand. Jobs of higher priority" in sentence
    assert f"It runs 2 jobs, the longest of them job {second}" in scene.why(taken)[1]


def test_a_second_agent_and_a_clock_are_told_wherever_the_site_is_looked_at(scene: Scene) -> None:
    place = {"host": "login1", "boot_id": "b", "pid": 7, "process": "b:7", "folder": "1:1", "path": "/a/site"}
    route = f"/sites/{scene.site['id']}/agent"
    scene.client.put(route, {**place, "instance": "instance-1", "clock_ahead_us": -90_000_000})
    second = {**place, "instance": "instance-2", "folder": "1:2", "path": "/a/copy"}
    assert not scene.client.put(route, second)["granted"]
    [job] = scene.create()
    batch_job = scene.allocation("queued")
    health = {site["id"]: site["health"] for site in scene.client.get("/overview")["sites"]}
    for told in (scene.why(job)[1], scene.queue_why(batch_job)[1], health[scene.site["id"]]):
        assert (
            "the clock of login1, where the agent of site" in told and "is 90 s behind the server's" in told
        )
        assert "a second agent, on login1 in /a/copy, was not let in at" in told
    agent = scene.client.get(f"/sites/{scene.site['id']}")["agent"]
    assert agent["clock_ahead_us"] == -90_000_000 and agent["refused"]["path"] == "/a/copy"
    scene.client.put(route, {**place, "instance": "instance-1"})
    assert "clock" not in scene.why(job)[1]


# ---- counts ----


def test_counts_follow_the_filters_and_name_the_oldest_job_of_each_reason(scene: Scene) -> None:
    plain = scene.create(3)
    tagged = scene.create(2, tags={"lane": "a"})
    scene.launcher(scene.allocation(filter_tags={"lane": "a"}), tags={"lane": "a"})
    rows = scene.client.get("/jobs/why/counts", {"site_id": scene.site["id"]})
    assert [(row["code"], row["count"], row["job_id"]) for row in rows] == [
        ("no_fit_tags", 3, plain[0]),
        ("next", 2, tagged[0]),
    ]
    assert scene.counts(tags=["lane:a"]) == {"next": 2}
    assert scene.counts(state="FAILED") == {}
    assert scene.counts(id=plain[1:]) == {"no_fit_tags": 2}


def test_an_agent_without_hooks_is_alive_while_it_tells_of_its_site(scene: Scene, lab: Lab) -> None:
    batch_job = lab.batch_job()["id"]

    def code() -> str:
        return str(lab.client.get(f"/batch-jobs/{batch_job}/why")["code"])

    assert code() == "no_agent"
    db = scene.server.server.db
    with db.write() as tx:
        tx.conn.execute(
            update(sites).where(sites.c.id == lab.site["id"]).values(agent_seen=now_us() - 30_000_000)
        )
    assert code() == "not_submitted"
    with db.write() as tx:
        tx.conn.execute(
            update(sites).where(sites.c.id == lab.site["id"]).values(agent_seen=now_us() - HOUR_US)
        )
    assert code() == "no_agent"


AGENT = {"host": "login1", "pid": 1, "folder": "1:2", "path": "/a/site"}


def test_only_the_word_of_a_site_token_counts_as_its_agents(
    scene: Scene, password_server: PasswordServer
) -> None:
    site_id = scene.site["id"]

    def seen() -> int | None:
        with password_server.server.db.read() as conn:
            row = conn.execute(sites.select().where(sites.c.id == site_id)).mappings().one()
        told: int | None = row["agent_seen"]
        return told

    scene.client.put(f"/sites/{site_id}", {"path": "/a/site"})
    assert seen() is None
    token = scene.client.post("/auth/site-tokens", {"site_id": site_id})["token"]
    with Client(password_server.url, token) as agent:
        agent.put(f"/sites/{site_id}", {"nodes": None})
        assert seen() is None, "settings can be published while no agent works"
        agent.put(f"/sites/{site_id}/agent", {"instance": "instance-1", **AGENT})
    assert seen() is not None


def test_reasons_tell_nothing_of_other_users(
    scene: Scene, password_server: PasswordServer, new_user: Callable[[], User]
) -> None:
    other = Scene(password_server, new_user())
    theirs = other.create(2)
    other.launcher(other.allocation(filter_tags={"secret": "tag"}), tags={"secret": "tag"})
    [mine] = scene.create()
    assert scene.why(mine)[0] == "no_allocation"
    assert scene.client.get("/jobs/why/counts", {"id": theirs}) == []
    assert scene.client.get("/jobs/why/counts", {"site_id": other.site["id"]}) == []
    everything = str(scene.client.get("/jobs/why/counts")) + str(scene.client.get("/batch-jobs/why"))
    assert "secret" not in everything and other.name not in everything


def test_what_a_batch_system_says_is_told_of_the_batch_job_and_the_site(scene: Scene) -> None:
    place = {"host": "login1", "boot_id": "b", "pid": 7, "process": "b:7", "folder": "1:1", "path": "/a/site"}
    route = f"/sites/{scene.site['id']}/agent"
    away = "Unable to contact slurm controller"
    scene.client.put(route, {**place, "instance": "instance-1", "trouble": away})
    [job] = scene.create()
    for state in ("queued", "running", "pending_deletion"):
        batch_job = scene.allocation(state)
        scene.client.patch("/batch-jobs/", [{"id": batch_job, "notes": {"scheduler": away}}])
        assert scene.queue_why(batch_job)[1].count(away) == 1
    assert away in scene.why(job)[1]
    assert scene.client.get(f"/sites/{scene.site['id']}")["agent"]["trouble"] == away
    scene.client.put(route, {**place, "instance": "instance-1"})
    assert away not in scene.why(job)[1]


@pytest.mark.parametrize(
    ("state", "notes", "code", "text"),
    [
        (
            "queued",
            {"reason": "Priority", "expected_start": "2026-12-01T10:00:00"},
            "queued",
            "says Priority. It",
        ),
        ("queued", {"never_starts": "JobHeldUser"}, "never_starts", "JobHeldUser. End it with"),
        ("queued", {"requeued": "1. preempted"}, "queued", "was put back into the queue: 1. preempted."),
        ("queued", {"missing": "the queue lost it"}, "scheduler_lost_it", "the queue lost it"),
        ("running", {"missing": "the queue lost it"}, "scheduler_lost_it", "the queue lost it"),
        ("pending_deletion", {"deletion": "not yours"}, "scheduler_fails", "does not do it: not yours"),
    ],
)
def test_what_the_agent_notes_of_an_allocation_is_its_reason(
    scene: Scene, state: str, notes: dict[str, str], code: str, text: str
) -> None:
    batch_job = scene.allocation(state)
    scene.client.patch("/batch-jobs/", [{"id": batch_job, "notes": notes}])
    found, sentence = scene.queue_why(batch_job)
    assert found == code and text in sentence
