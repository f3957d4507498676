"""A spool keeps every update from its start to its answer, whatever dies or fills up in between."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balsam.core.clock import now_us
from balsam.core.states import JobState
from balsam.runtime.spool import Batch, Spool, SpoolFolder, SpoolName
from balsam.runtime.updates import Update

NAME = SpoolName(7, 0, 31)


def items(*job_ids: int) -> list[dict[str, Any]]:
    return [Update(job_id, JobState.running, now_us()).body(0) for job_id in job_ids]


def ids(batch: Batch | None) -> list[int]:
    return [] if batch is None else [entry.job_id for entry in batch.entries]


@pytest.fixture
def folder(tmp_path: Path) -> SpoolFolder:
    return SpoolFolder(tmp_path / "spool")


def taken(folder: SpoolFolder) -> Spool:
    spool = folder.take(NAME)
    assert spool is not None
    return spool


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process grows beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_updates_are_on_the_disk_before_they_are_sent_and_only_their_owners(folder: SpoolFolder) -> None:
    spool = folder.create(NAME)
    spool.append(items(1, 2))
    lines = [json.loads(line) for line in spool.path.read_text().splitlines()]
    assert [line.get("id") for line in lines] == [None, 1, 2]
    assert lines[0]["owner"]["pid"] == os.getpid()
    assert stat.S_IMODE(spool.path.stat().st_mode) == 0o600
    assert spool.path.name == "7-0-31.jsonl" and folder.names() == [NAME]


def test_a_successor_sends_the_same_batch_again_and_then_the_rest(folder: SpoolFolder) -> None:
    spool = folder.create(NAME)
    spool.append(items(1, 2, 3))
    first, second = spool.next_batch(1), spool.next_batch(1)
    assert first is not None and second is not None
    spool.acknowledge(first)
    spool.append(items(4))
    spool.leave()
    again = taken(folder)
    assert again.next_batch(100) == second
    rest = again.next_batch(100)
    assert rest is not None and ids(rest) == [3, 4] and rest.begin == second.end
    assert again.next_batch(100) is None


@settings(max_examples=60)  # each batch waits for the disk
@given(st.lists(st.one_of(st.integers(1, 5), st.sampled_from(["send", "answer", "crash"])), max_size=40))
def test_nothing_is_lost_or_reordered_however_often_the_writer_dies(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    folder = SpoolFolder(tmp_path_factory.mktemp("spool"))
    spool, sent, under_way = folder.create(NAME), dict[tuple[int, int], Batch](), list[Batch]()
    appended: list[int] = []
    for step in [*steps, "crash"]:
        if isinstance(step, int):
            spool.append(items(step))
            appended.append(step)
        elif step == "send" and not under_way and (batch := spool.next_batch(2)):
            assert sent.setdefault((batch.begin, batch.end), batch) == batch
            under_way.append(batch)
        elif step == "answer" and under_way:
            spool.acknowledge(under_way.pop())
        elif step == "crash":
            spool.leave()
            spool, under_way = taken(folder), []
    while batch := spool.next_batch(2):
        assert sent.setdefault((batch.begin, batch.end), batch) == batch
    assert [i for key in sorted(sent) for i in ids(sent[key])] == appended
    spool.leave()


def test_a_torn_line_is_cut_off_and_a_damaged_one_is_kept_with_the_refused(folder: SpoolFolder) -> None:
    spool = folder.create(NAME)
    spool.append(items(1))
    spool.leave()
    with spool.path.open("ab") as file:
        file.write(b"\0\0\0\n" + b'{"id": 2, "state": "RUN_DO')
    again = taken(folder)
    again.append(items(3))
    assert ids(again.next_batch(100)) == [1, 3]
    assert b"RUN_DO" not in spool.path.read_bytes()
    assert folder.count_refused(7) == 1
    assert "can't be read" in spool.path.with_suffix(".refused").read_text()


def test_the_spool_of_a_living_process_is_left_alone(folder: SpoolFolder) -> None:
    code = "import sys, time; from pathlib import Path; from balsam.runtime.spool import *\n"
    code += "spool = SpoolFolder(Path(sys.argv[1])).create(SpoolName(7, 0, 31))\n"
    code += "spool.append([{'id': 5, 'state': 'RUNNING'}]); print('there', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", code, str(folder.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"there\n"
        assert folder.take(NAME) is None
        writer.kill()
    assert ids(taken(folder).next_batch(9)) == [5]


def test_the_spool_of_another_host_is_left_to_who_knows_that_it_is_dead(folder: SpoolFolder) -> None:
    spool = folder.create(NAME)
    spool.append(items(1))
    spool.leave()
    text = spool.path.read_text()
    line = json.dumps({"owner": {"host": "elsewhere", "pid": os.getpid()}}, separators=(",", ":"))
    spool.path.write_text(line + text[text.index("\n") :])
    assert not folder.is_of_this_host(NAME)
    assert folder.take(NAME) is None
    found = folder.take(NAME, of_any_host=True)
    assert found is not None and ids(found.next_batch(9)) == [1]


def test_a_settled_spool_is_removed_and_what_was_refused_stays(folder: SpoolFolder) -> None:
    spool = folder.create(NAME)
    spool.append(items(1, 2))
    batch = spool.next_batch(9)
    assert batch is not None
    spool.keep_refused([(batch.entries[1], "it is another's")])
    spool.acknowledge(batch)
    spool.close()
    [left] = folder.path.iterdir()
    assert left.name == "7-0-31.refused" and stat.S_IMODE(left.stat().st_mode) == 0o600
    told = json.loads(left.read_text())
    assert (told["reason"], told["update"]["id"]) == ("it is another's", 2)
    assert (folder.count_refused(7), folder.count_refused(None)) == (1, 0)


def test_a_full_disk_is_told_and_nothing_is_lost_when_there_is_room_again(folder: SpoolFolder) -> None:
    spool = folder.create(NAME)
    spool.append(items(1))
    with full_disk(spool.path.stat().st_size + 50):
        spool.append(items(2, 3))
        assert spool.trouble is not None and str(spool.path) in spool.trouble
        assert ids(spool.next_batch(2)) == [1, 2]  # reports go on from memory
        spool.sync()
        assert spool.trouble is not None
    spool.append(items(4))
    spool.sync()
    assert spool.trouble is None
    spool.leave()
    again = taken(folder)
    assert [ids(again.next_batch(9)) for _ in range(3)] == [[1, 2], [3, 4], []]


def test_where_no_file_can_be_made_updates_wait_in_memory_until_one_can(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way")
    spool = SpoolFolder(tmp_path / "spool").create(NAME)
    spool.append(items(1))
    assert spool.trouble is not None
    (tmp_path / "spool").unlink()
    spool.sync()
    assert spool.trouble is None and ids(spool.next_batch(9)) == [1]
    spool.leave()
    assert ids(taken(SpoolFolder(tmp_path / "spool")).next_batch(9)) == [1]


def test_a_spool_of_a_server_that_has_begun_anew_is_not_overwritten(folder: SpoolFolder) -> None:
    old = folder.create(NAME)
    old.append(items(1))
    old.leave()
    new = folder.create(NAME)
    new.append(items(2))
    assert ids(new.next_batch(9)) == [2]
    [aside] = folder.path.glob("7-0-31.jsonl.*")
    assert '"id":1' in aside.read_text()
