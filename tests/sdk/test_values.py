"""Values are kept as they were, or refused where they are given; never changed on their way."""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from balsam.api import ApplicationDefinition, BatchJob, Job, JobState, Site
from balsam.client.errors import ServerRefused
from balsam.schemas.json_tree import MAX_DEPTH, NotJson, as_tree
from balsam.sdk.parameters import ParameterError
from tests.services import User

Apps = type[ApplicationDefinition]
MAX = 2**63 - 1
Point = namedtuple("Point", "x y")


class Scalar:
    """As numpy's: a number in a shape of its own."""

    shape = ()

    def __init__(self, number: object) -> None:
        self.number = number

    def item(self) -> object:
        return self.number


class Array:
    shape = (2,)

    def item(self) -> object:
        raise ValueError("one element only")

    def tolist(self) -> list[int]:
        return [1, 2]


class Level(IntEnum):
    high = 3


class Shade(Enum):
    dark = 1


@dataclass
class Pair:
    left: int = 1


KEPT = [
    *(None, True, 0, -1, MAX, -MAX - 1, 0.5, 1e-300, 1.5e15, "", "é☃", "a\nb\t", [], {}, [None, [1.5]]),
    *({"": 1}, {"a": {"b": [1, {"c": "d"}]}}, JobState.running, Level.high, OrderedDict(b=1, a=2)),
    *(defaultdict(int, x=1), Scalar(3), Scalar(0.25), Scalar("x")),
]
REFUSED = [
    *(math.nan, math.inf, -math.inf, MAX + 1, -MAX - 2, 10**30, (1, 2), (), {1}, set(), frozenset({1})),
    *(
        Point(1, 2),
        b"x",
        bytearray(b"x"),
        datetime(2026, 1, 2),
        date(2026, 1, 2),
        timedelta(1),
        Decimal("1.1"),
    ),
    *(Path("a"), 1j, Fraction(1, 3), Shade.dark, Pair(), object(), len, int, "\x00", "\ud800", Array()),
    *(Scalar(math.nan), Scalar(datetime(2026, 1, 2)), range(2), {1: 2}, {None: 1}, {1.5: 1}, {(1,): 1}),
    *({"\x00": 1}, {"\udcff": 1}),
]


@pytest.mark.parametrize("value", KEPT)
def test_what_json_carries_is_kept(value: Any) -> None:
    plain = as_tree(value)
    assert plain == (value.item() if isinstance(value, Scalar) else value)
    assert type(plain) in (type(None), bool, int, float, str, list, dict)


@pytest.mark.parametrize("value", REFUSED)
def test_what_json_can_not_carry_is_refused_with_its_place(value: Any, lab_free: Job) -> None:
    with pytest.raises(NotJson, match=r"^\['a'\]\[1\]"):
        as_tree({"a": [0, value]})
    with pytest.raises(TypeError, match=r"^Job.data\['a'\]\[1\]"):
        lab_free.data = {"a": [0, value]}
    assert lab_free.data == {}
    with pytest.raises(TypeError, match=r"^Job.data\['a'\]"):
        Job("w", 1, data={"a": value})
    lab_free.data["late"] = value  # put into the dict behind its back: noticed when it is saved
    with pytest.raises(TypeError, match=r"^Job.data\['late'\]"):
        lab_free.creation_body()


@pytest.fixture
def lab_free() -> Job:
    """A job that nobody saves."""
    return Job("w", 1)


def test_the_sentence_says_what_to_write_instead() -> None:
    for value, remedy in (
        (math.nan, 'None or the text "nan"'),
        ((1, 2), "list(...)"),
        ({1}, "sorted(...)"),
        (datetime(2026, 1, 2), ".isoformat()"),
        (Decimal(1), "str(...) or float(...)"),
        (Path("a"), "str(...)"),
        (b"x", ".decode()"),
        (Array(), ".tolist()"),
        (10**30, "str(...)"),
        ({1: 2}, "str(...)"),
    ):
        with pytest.raises(NotJson) as refused:
            as_tree(value)
        assert remedy in str(refused.value)


def test_nothing_is_nested_deeper_than_can_be_stored() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH + 2):
        deep = [deep]
    with pytest.raises(NotJson, match="levels deep"):
        as_tree(deep)


def test_data_come_back_as_they_were(hello: Apps, me: User) -> None:
    """Through both engines; a job's own changes, one by one, in bulk and by query."""
    data = {"n": [MAX, -1, 0.1, 1e-300, 1.5, 5.0, None, True], "text": "é\n☃", "": {"deep": [[], {}]}}
    job = hello.submit("w", name="x", data=data)
    other = hello.submit("w", name="x")
    other.data = data
    Job.objects.bulk_update([other])
    third = hello.submit("w", name="x")
    Job.objects.filter(id=third.id).update(data=data)
    for one in (job, other, third):
        assert repr(sorted(Job.objects.get(id=one.id).data.items())) == repr(sorted(data.items()))
    job.data["loss"] = math.inf
    with pytest.raises(TypeError, match=r"Job.data\['loss'\] holds inf"):
        job.save()
    with pytest.raises(TypeError, match=r"Job.data\['loss'\] holds inf"):
        Job.objects.bulk_update([job])
    with pytest.raises(TypeError, match=r"Job.data\['a'\] holds nan"):
        Job.objects.all().update(data={"a": math.nan})
    for text in ('{"a": NaN}', '{"a": 1e999}', '{"a": 9223372036854775808}', '{"a": "\\u0000"}'):
        with pytest.raises(ServerRefused, match="a"):
            me.client._send(
                me.client._connections.shared().build_request(
                    *("PUT", f"{me.client.api_root}/jobs/{job.id}"),
                    content=f'{{"data": {text}}}'.encode(),
                    headers={"Content-Type": "application/json"},
                )
            )
    assert "loss" not in Job.objects.get(id=job.id).data


NUMBERS = {
    **dict.fromkeys(("num_nodes", "ranks_per_node", "threads_per_rank", "threads_per_core"), 1),
    "node_packing_count": 1,
    "wall_time_min": 0,
    "mem_mb_per_rank": 0,
    "max_restarts": 0,
}
WRONG: list[Any] = [-1, True, "2", 1.5, math.nan, math.inf, None.__class__, 2**31, [1], b"1", Decimal("1.5")]


@pytest.mark.parametrize("name", NUMBERS)
def test_whole_numbers_are_whole_and_in_their_bounds(name: str, hello: Apps, me: User) -> None:
    job = hello.submit("w", name="x")
    body = {"workdir": "w", "app_id": job.app_id, "parameters_json": {"name": "x"}}
    for value in [*WRONG, NUMBERS[name] - 1]:
        with pytest.raises((TypeError, ValueError), match=rf"^Job\.{name} can't be"):
            setattr(job, name, value)
        with pytest.raises((TypeError, ValueError), match=rf"^Job\.{name} can't be"):
            hello.submit("w", name="x", **{name: value})
        with pytest.raises((TypeError, ValueError), match=rf"^Job\.{name} can't be"):
            Job.objects.all().update(**{name: value})
    for value in (-1, True, "2", 1.5, NUMBERS[name] - 1):
        with pytest.raises(ServerRefused, match=name):
            me.client.post("/jobs/", [{**body, name: value}])
    setattr(job, name, 3.0)
    assert getattr(job, name) == 3 and type(getattr(job, name)) is int


def test_a_share_of_gpus_is_a_number(lab_free: Job) -> None:
    wrong: Any
    for wrong in (-1, math.nan, math.inf, True, "1", 2e6, None.__class__):
        with pytest.raises((TypeError, ValueError), match=r"^Job\.gpus_per_rank can't be"):
            lab_free.gpus_per_rank = wrong
    lab_free.gpus_per_rank = 1
    assert lab_free.gpus_per_rank == 1.0
    good: dict[str, Any] = {"num_nodes": 1, "wall_time_min": 1, "job_mode": "mpi", "site_id": 1}
    good |= {"project": "p", "queue": "q"}
    for name in ("num_nodes", "wall_time_min"):
        for wrong in (0, -1, True, "2", 1.5):
            with pytest.raises(TypeError, match=rf"BatchJob\.{name}"):
                BatchJob(**{**good, name: wrong})


def test_a_job_of_an_older_client_without_nodes_can_be_read_and_changed(hello: Apps, me: User) -> None:
    """`num_nodes=0` is accepted of who does not ask for strict handling; `why` tells of it."""
    body = [{"workdir": "w", "app_id": hello.__app_id__, "num_nodes": 0, "parameters_json": {"name": "x"}}]
    request = me.client._connections.shared().build_request("POST", f"{me.client.api_root}/jobs/", json=body)
    answer = me.client._send(request)
    job = Job.objects.get(id=answer.body[0]["id"])
    assert job.num_nodes == 0 and "num_nodes=0" in repr(job)
    assert "takes one node at least" in (job.why().doubt or "")
    job.priority = 3
    job.save()
    assert Job.objects.get(id=job.id).priority == 3


@pytest.mark.parametrize("value", [None, b"x", (1,), [1], {}, "\x00", "\ud800", object()])
@pytest.mark.parametrize("name", ["tags", "launch_params"])
def test_a_tag_is_a_text_or_a_number(name: str, value: Any, lab_free: Job) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"^Job\.{name}.*'k'"):
        setattr(lab_free, name, {"k": value})
    with pytest.raises((TypeError, ValueError), match=rf"^Job\.{name}"):
        setattr(lab_free, name, {value if not isinstance(value, (list, dict)) else (): "v"})


@pytest.mark.parametrize("workdir", ["a\x00b", "a\udcffb"])
def test_a_workdir_that_no_database_holds_is_refused_at_once(workdir: str) -> None:
    with pytest.raises((TypeError, ValueError), match=r"Job\.workdir"):
        Job(workdir, 1)


@pytest.mark.parametrize(
    "values",
    [
        {"x": math.nan},
        {"x": (1, [2]), "y": {3}, "z": {1: 2}},
        {"x": 2**70, "y": -0.0, "z": Decimal("1.10")},
        {"x": datetime(2026, 1, 2), "y": Path("a"), "z": b"\x00"},
    ],
)
def test_parameters_of_a_function_are_kept_whatever_they_are(values: dict[str, Any], lab: Site) -> None:
    class Any_(ApplicationDefinition):
        site = "lab"

        def run(self, x: Any, y: Any = None, z: Any = None) -> None: ...

    Any_.sync()
    job = Any_.submit("w", **values)
    assert repr(Job.objects.get(id=job.id).get_parameters()) == repr(values)


def test_a_text_where_a_number_is_declared_is_refused_at_submission(add: Apps) -> None:
    with pytest.raises(ParameterError, match="the app Add can't take 'x': 'abc' is no whole number"):
        add.submit("w", x="abc")
    with pytest.raises(ParameterError, match="'y'"):
        Job("w", add, parameters={"x": 1, "y": "1.5"})
    assert Job.objects.count() == 0


def _of_name(name: str) -> Apps:
    """An app whose run() has one needed parameter of this name, beside an optional x."""
    space: dict[str, Any] = {}
    exec(f"def run(self, {name}, x=1):\n    return {name}", space)
    return type("Fit", (ApplicationDefinition,), {"site": "lab", "run": space["run"]})


@pytest.mark.parametrize(
    "name", ["data", "tags", "workdir", "num_nodes", "wall_time_min", "parent_ids", "save"]
)
def test_a_parameter_named_as_a_jobs_own_field_is_told_from_it(name: str, lab: Site) -> None:
    fit = _of_name(name)
    fit.sync()
    for given in ({}, {name: "value"} if name != "workdir" else {}):
        with pytest.raises(ParameterError, match=f"parameter '{name}', and '{name}' is a field of each job"):
            fit.submit("f", **given)  # type: ignore[arg-type]
    job = Job("f", fit, parameters={name: "value"})
    job.save()
    assert Job.objects.get(id=job.id).get_parameters() == {name: "value"}


@pytest.mark.parametrize("name", ["state", "priority", "parameters", "id", "app_id", "site_name"])
def test_other_names_are_an_apps_own(name: str, lab: Site) -> None:
    fit = _of_name(name)
    fit.sync()
    given: dict[str, Any] = {name: 5}
    assert Job.objects.get(id=fit.submit("f", **given).id).get_parameters() == {name: 5}


def test_a_deleted_job_keeps_its_fields_and_does_not_come_back(hello: Apps) -> None:
    """As release 0.7: its id is None, whether it was read before or not."""
    for read_first in (True, False):
        job = hello.submit("w", name="x", tags={"k": "v"})
        number = job.id if read_first else job._row["id"]
        job.delete()
        assert job.id is None and not job.is_saved
        assert (str(job.workdir), job.tags, job.state) == ("w", {"k": "v"}, JobState.preprocessed)
        job.tags["k"] = "w"
        job.save()
        assert Job.objects.filter(id=number).count() == 0 and Job.objects.count() == 0
        for verb in ("delete", "refresh_from_db", "why", "kill", "retry"):
            with pytest.raises(AttributeError, match="was deleted"):
                getattr(job, verb)()
    for verb in ("delete", "refresh_from_db"):
        with pytest.raises(AttributeError, match="never saved"):
            getattr(Job("w", hello, parameters={"name": "x"}), verb)()


def test_notes_on_a_job_stay_in_the_process_and_pickles_need_no_script(
    make_jobs: Callable[..., list[Job]],
) -> None:
    [job] = make_jobs(1)
    job.note = 1
    assert job.app.__name__ == "Add"
    job.refresh_from_db()
    again = pickle.loads(pickle.dumps(job))
    assert again.note == job.note == 1  # type: ignore[attr-defined]
    assert again.app.__name__ == "Add"
    with pytest.raises(AttributeError, match="'wall_time_min'"):
        job.wall_time = 1


def test_acquiring_takes_the_published_nones(lab: Site, make_jobs: Callable[..., list[Job]]) -> None:
    from balsam.api import Session

    jobs = make_jobs(2)
    session = Session.objects.create(lab.id, batch_job_id=None)
    held = session.acquire_jobs(1, app_ids=None, sort_by=None, filter_tags={}, max_wall_time_min=None)
    assert held == jobs[:1]
