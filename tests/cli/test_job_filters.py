"""One grammar of filters for every verb about jobs, and what is said before jobs are changed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from balsam.api import Job, JobState
from balsam.client.transport import Client
from tests.cli.campaign import Campaign, make
from tests.cli.conftest import Balsam

VERBS = ("ls", "rm", "modify", "retry", "kill", "why")
FLAGS = {
    *("-i", "--id", "--with-tag", "--in-state", "-ns", "--exclude-state", "-w", "--workdir", "-a", "--app"),
    *("-b", "--batch-job", "--parent", "--updated-after", "--updated-before", "--site"),
}


@pytest.fixture
def campaign(client: Client, balsam: Balsam, home: Path) -> Campaign:
    assert balsam("site", "init", "runs", "--name", "laptop").status == 0
    return make("laptop")


def listed(balsam: Balsam, *words: object) -> list[int]:
    said = balsam("job", "ls", "--json", *words)
    assert said.status == 0, said.err
    return [row["id"] for row in json.loads(said.out)]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_the_same_filters(verb: str, balsam: Balsam) -> None:
    words = set(balsam("job", verb, "--help").out.replace(",", " ").split())
    assert words >= FLAGS


def test_filters_choose(campaign: Campaign, balsam: Balsam) -> None:
    one, two, three, four, failed = campaign.ids
    assert listed(balsam, one, f"{two},{three}") == [one, two, three]
    assert listed(balsam, "--id", one, two) == [one, two]
    assert listed(balsam, "--with-tag", "lane=a") == listed(balsam, "-t", "lane=a") == [one, two]
    assert listed(balsam, "-t", "lane=a", "-t", "hot=yes") == [two]
    assert listed(balsam, "-s", "failed,awaiting_parents") == [four, failed]
    assert listed(balsam, "--in-state", "FAILED", "-s", "AWAITING_PARENTS") == [four, failed]
    assert listed(balsam, "-ns", "FAILED,AWAITING_PARENTS") == [one, two, three]
    assert listed(balsam, "-s", "FAILED", "-ns", "FAILED") == []
    assert listed(balsam, "-a", "Add") == [two, three]
    assert listed(balsam, "-a", "Add,Hello", "-w", "/1") == [one, two]
    assert listed(balsam, "--parent", one) == [four]
    assert balsam("job", "ls", "--json", "-b", 987654).out == "[]\n"
    hour = timedelta(hours=1)
    before, after = (f"{datetime.now(UTC) + shift:%Y-%m-%dT%H:%M:%S}" for shift in (-hour, hour))
    assert listed(balsam, "--updated-after", before) == campaign.ids
    assert listed(balsam, "--updated-after", after) == listed(balsam, "--updated-before", before) == []
    assert listed(balsam, "--site", "laptop", one) == [one]


@pytest.mark.parametrize("verb", ["rm", "kill", "retry"])
def test_what_changes_jobs_wants_to_be_told_which(verb: str, campaign: Campaign, balsam: Balsam) -> None:
    said = balsam("job", verb, "-y")
    assert said.status == 2 and "--tag" in said.err and "--all" in said.err
    assert balsam("job", verb, "--all", "-t", "lane=a", "-y").status == 2
    assert listed(balsam) == campaign.ids


@pytest.mark.parametrize(
    ("words", "question"),
    [
        (["rm", "-t", "lane=b"], "Remove 2 jobs?"),
        (["modify", "-t", "lane=b", "--set-tag", "new=tag"], "Change 2 jobs?"),
        (["retry", "-s", "FAILED"], "Retry 1 job?"),
        (["kill", "-t", "lane=b"], "Kill 2 jobs?"),
    ],
)
def test_the_count_is_shown_before_anything_is_changed(
    words: list[str], question: str, campaign: Campaign, balsam: Balsam
) -> None:
    before = balsam("job", "ls", "--json").out
    said = balsam("job", *words)
    assert said.status == 2
    assert question in said.err and "-y" in said.err
    assert balsam("job", "ls", "--json").out == before
    assert balsam("job", *words, "--yes").status == 0
    assert balsam("job", "ls", "--json").out != before


def test_modify_by_filters(campaign: Campaign, balsam: Balsam) -> None:
    said = balsam("job", "modify", "--with-tag", "lane=a", "-a", "Add", "--set-tag", "new=tag", "-y")
    assert said.out == "Changed 1 job.\n"
    assert Job.objects.get(id=campaign.two.id).tags == {"lane": "a", "hot": "yes", "new": "tag"}
    said = balsam("job", "modify", "--in-state", "AWAITING_PARENTS", "-s", "FAILED", "-y")
    assert said.out == "Changed 1 job.\n"
    assert Job.objects.get(id=campaign.four.id).state is JobState.failed
    assert balsam("job", "modify", "--set-tag", "a=b").status == 2
    assert balsam("job", "modify", campaign.one.id).status == 2
    assert balsam("job", "modify", "--in-state", "RUNNING", "--set-tag", "a=b", "-y").out == "No such jobs.\n"


def test_retry_runs_failed_jobs_again_and_no_others(campaign: Campaign, balsam: Balsam) -> None:
    said = balsam("job", "retry", campaign.failed.id, campaign.one.id)
    assert said.out == "Retried 1 job.\n1 job had not failed.\n"
    assert Job.objects.get(id=campaign.failed.id).state is JobState.restart_ready
    assert Job.objects.get(id=campaign.one.id).state is JobState.preprocessed
    assert balsam("job", "retry", "--all").out == "Retried 0 jobs.\n"


def test_retry_of_what_never_ran_begins_with_its_parents(campaign: Campaign, balsam: Balsam) -> None:
    campaign.four.kill()
    campaign.three.kill()
    said = balsam("job", "retry", "-t", "lane=b", "-y")
    assert said.out == "Retried 2 jobs.\n"
    states = {job.id: job.state for job in Job.objects.filter(tags={"lane": "b"})}
    assert states == {
        campaign.three.id: JobState.preprocessed,
        campaign.four.id: JobState.awaiting_parents,
    }


def test_an_id_that_is_not_there_changes_nothing(campaign: Campaign, balsam: Balsam) -> None:
    for words in (["rm", "-y"], ["retry"], ["modify", "--set-tag", "a=b"], ["kill", "-y"]):
        said = balsam("job", words[0], campaign.one.id, 987654321, *words[1:])
        assert said.status == 1 and "no job 987654321" in said.err
    one = Job.objects.get(id=campaign.one.id)
    assert one.tags == {"lane": "a"} and one.state is JobState.preprocessed


@pytest.mark.parametrize("nothing", ["", " , "])
@pytest.mark.parametrize("flag", ["-i", "--in-state", "-ns", "-a", "-b", "--parent"])
def test_a_value_that_names_nothing_does_not_choose_all(
    flag: str, nothing: str, campaign: Campaign, balsam: Balsam
) -> None:
    """As a script says it whose variable is not set."""
    before = balsam("job", "ls", "--json").out
    for words in (["rm"], ["kill"], ["retry"], ["modify", "--set-tag", "a=b"]):
        for more in ([], ["--with-tag", "lane=a"]):
            said = balsam("job", *words, *more, flag, nothing, "-y")
            assert said.status == 2 and f"{nothing!r} names nothing" in said.err
    assert balsam("job", "ls", "--json").out == before


def test_an_empty_workdir_or_id_does_not_choose_all(campaign: Campaign, balsam: Balsam) -> None:
    for words in (["-w", ""], [""], ["", "--with-tag", "lane=a"]):
        said = balsam("job", "rm", *words, "-y")
        assert said.status == 2 and "'' names nothing" in said.err
    assert listed(balsam) == campaign.ids
