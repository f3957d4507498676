"""Faults that only a launcher meets, and the sentences that their user gets of them."""

from __future__ import annotations

import time

import yaml

from tests.launcher.pilot import Pilot, long_sleep
from tests.services import EmbeddedServer
from tests.waiting import wait_until


def why(pilot: Pilot, job_id: int) -> tuple[str, str]:
    answer = pilot.client.get(f"/jobs/{job_id}/why")
    return answer["code"], answer["sentence"]


def allocation(pilot: Pilot, mode: str = "serial") -> int:
    """A BatchJob that runs, as the agent would say."""
    body = {"num_nodes": 1, "wall_time_min": 10, "project": "local", "queue": "local", "job_mode": mode}
    made = pilot.client.post("/batch-jobs/", {**body, "site_id": pilot.site.site_id})
    pilot.client.put(f"/batch-jobs/{made['id']}", {"state": "running"})
    return int(made["id"])


def test_a_launcher_tells_what_its_nodes_have_and_which_tags_it_takes(pilot: Pilot) -> None:
    settings = yaml.safe_load(pilot.site.settings_path.read_text())
    pilot.site.settings_path.write_text(yaml.safe_dump({**settings, "filter_tags": {"lane": "a"}}))
    number = allocation(pilot)
    app = pilot.command("true")
    (untagged,) = pilot.submit(app)
    (greedy,) = pilot.submit(app, tags={"lane": "a"}, gpus_per_rank=2)
    pilot.launch("--batch-job", str(number), environment={"CUDA_VISIBLE_DEVICES": "0"})
    wait_until(lambda: why(pilot, untagged)[0] == "no_fit_tags", 20.0, lambda: pilot.told([untagged]))
    assert f"BatchJob {number}: it takes only jobs with the tags lane=a" in why(pilot, untagged)[1]
    code, sentence = why(pilot, greedy)
    assert code == "never_fits" and "it asks for 2 GPUs" in sentence and "has 1" in sentence
    told = pilot.client.get(f"/batch-jobs/{number}/why")
    assert told["code"] == "running" and "with 1 launcher" in told["sentence"]


def test_what_a_launcher_can_not_start_says_what_is_missing(pilot: Pilot) -> None:
    number = allocation(pilot)
    (missing,) = pilot.submit(pilot.command("simulat --steps 3"))
    (nowhere,) = pilot.submit(pilot.command("true"), workdir="nowhere")
    pilot.site.data_path.joinpath("nowhere").write_text("a file where a folder is needed")
    busy, behind = pilot.submit(pilot.command(long_sleep()), 2)
    pilot.launch("--batch-job", str(number))
    pilot.wait_done([missing, nowhere])
    code, sentence = why(pilot, missing)
    assert code == "failed" and "there is no program 'simulat' on the PATH" in sentence
    code, sentence = why(pilot, nowhere)
    assert code == "failed" and "nowhere/0" in sentence
    wait_until(lambda: "running" in {why(pilot, one)[0] for one in (busy, behind)})
    code, sentence = why(pilot, busy)
    assert code == "running" and f"the launcher of BatchJob {number}" in sentence
    assert why(pilot, behind)[0] in ("held", "next", "running")


def ended(pilot: Pilot, number: int) -> tuple[str, str]:
    """What is told of a BatchJob that has ended well, as its agent says."""
    pilot.client.put(f"/batch-jobs/{number}", {"state": "finished", "cause": "exit 0"})
    answer = pilot.client.get(f"/batch-jobs/{number}/why")
    return answer["code"], answer["sentence"]


def test_a_launcher_whose_wall_time_is_over_tells_so_and_what_is_left(pilot: Pilot) -> None:
    number = allocation(pilot)
    pilot.submit(pilot.command(long_sleep()), 3)
    assert pilot.launch("--batch-job", str(number), minutes=0.08).wait(60) == 0
    code, sentence = ended(pilot, number)
    assert code == "finished" and "3 jobs that it takes waited then" in sentence
    assert "the wall time is over; 1 run was ended before its time" in sentence


def test_a_launcher_without_work_tells_so(pilot: Pilot) -> None:
    number = allocation(pilot)
    pilot.set("launcher", idle_ttl_sec=1)
    assert pilot.launch("--batch-job", str(number)).wait(60) == 0
    assert "it had nothing to do for 1 s (exit 0)" in ended(pilot, number)[1]


def test_the_reason_of_an_end_in_an_outage_is_told_by_whoever_comes_next(
    own_pilot: Pilot, own_server: EmbeddedServer
) -> None:
    number = allocation(own_pilot)
    own_pilot.submit(own_pilot.command(long_sleep()))
    launcher = own_pilot.launch("--batch-job", str(number))
    wait_until(lambda: own_pilot.client.get("/jobs/", {"state": "RUNNING"})["results"])
    own_server.kill()
    launcher.terminate()
    assert launcher.wait(60) == 1
    own_server.start()
    own_pilot.launch("--batch-job", str(number))
    wait_until(lambda: len(own_pilot.client.get("/sessions/")["results"]) == 1, 20)
    wait_until(lambda: "SIGTERM" in ended(own_pilot, number)[1], 20)


def test_a_launcher_that_has_run_out_of_work_outlives_an_outage(
    own_pilot: Pilot, own_server: EmbeddedServer
) -> None:
    own_pilot.set("launcher", idle_ttl_sec=3)
    launcher = own_pilot.launch()
    wait_until(lambda: own_pilot.client.get("/sessions/")["results"])
    own_server.kill()
    time.sleep(5.0)
    assert launcher.poll() is None
    own_server.start()
    [job] = own_pilot.submit(own_pilot.command("true"))
    own_pilot.wait_done([job])
    assert launcher.wait(60) == 0
