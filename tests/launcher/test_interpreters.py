"""Apps choose the interpreter that runs them; what another Python has made is refused before it can crash."""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from balsam.schemas import deserialize
from balsam.schemas.serializers import serializer_info
from balsam.sdk.application import ApplicationDefinition
from balsam.sdk.context import session
from balsam.sdk.jobs import Job
from tests.launcher.pilot import Pilot

# Runs what it is asked to as `python -m`, and says that it is Python 3.99.
FUTURE = """\
#!{python}
import collections, sys
import cloudpickle
from balsam.runtime import python_worker
version = collections.namedtuple("version_info", "major minor micro releaselevel serial")
sys.version_info = version(3, 99, 0, "final", 0)
del sys.argv[1:3]
python_worker.main()
"""
OTHER = {**serializer_info(), "python": "3.99"}


class Sum(ApplicationDefinition):
    def run(self, a: int, b: int = 1) -> int:
        return a + b


def wrapper(folder: Path, text: str) -> str:
    path = folder / "python"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def own_app(running: Pilot, **body: Any) -> int:
    """An app of its own that says who ran it."""

    def run(self: ApplicationDefinition) -> str:
        return os.environ.get("RUN_BY", "nobody")

    name = f"Own{len(list(running.client.get('/apps/')['results']))}"
    return running.app_id(type(name, (ApplicationDefinition,), {"run": run, "__module__": __name__, **body}))


def error_of(running: Pilot, job: int) -> str:
    data = running.events(job)[-1]["data"]
    return f"{data.get('message', '')} {data.get('error', '')}"


def test_app_is_run_by_its_own_interpreter(running: Pilot, tmp_path: Path) -> None:
    exe = wrapper(tmp_path, f'#!/bin/sh\nRUN_BY=wrapper exec {sys.executable} "$@"\n')
    ids = running.submit(own_app(running, python_exe=exe)) + running.submit(own_app(running))
    rows = running.wait_done(ids)
    assert [deserialize(row["serialized_return_value"]) for row in rows] == ["wrapper", "nobody"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "can't start the interpreter {exe}: No such file or directory (the app's python_exe)"),
        ("echo no script", "can't start the interpreter {exe}: Permission denied (the app's python_exe)"),
        (
            "#!/bin/sh\nexec /usr/bin/env -i /bin/false\n",
            "({exe}) did not start: exit code 1 (the app's python_exe: is balsam",
        ),
    ],
)
def test_useless_interpreter_fails_the_job_with_its_name(
    running: Pilot, tmp_path: Path, text: str | None, told: str
) -> None:
    exe = str(tmp_path / "python")
    if text is not None:
        wrapper(tmp_path, text)
    if "Permission" in told:
        Path(exe).chmod(0o644)
    bad, good = running.submit(own_app(running, python_exe=exe)) + running.submit(own_app(running))
    assert [row["state"] for row in running.wait_done([bad, good])] == ["FAILED", "JOB_FINISHED"]
    assert told.format(exe=exe) in error_of(running, bad)


def test_app_of_another_python_fails_its_jobs_with_both_named_and_the_remedy(running: Pilot) -> None:
    app = running.app_id(Sum)
    running.client.put(f"/apps/{app}", {"serializer": OTHER, "hooks": []})
    [job] = running.submit(app, parameters_json={"a": 1})
    assert running.wait_done([job])[0]["state"] == "FAILED"
    assert running.walk(job)[-2:] == ["PREPROCESSED", "FAILED"]
    own = serializer_info()["python"]
    for part in (
        "made with Python 3.99",
        f"this is Python {own}",
        f"Sync it again with Python {own}",
        "python_exe",
    ):
        assert part in error_of(running, job)


def test_template_of_another_python_runs(running: Pilot) -> None:
    app = running.command("echo {{ x }}")
    running.client.put(f"/apps/{app}", {"serializer": OTHER, "hooks": []})
    [job] = running.submit(app, parameters_json={"x": "told"})
    assert running.wait_done([job])[0]["state"] == "JOB_FINISHED"
    assert running.output(job) == "told\n"


def test_app_is_compared_with_the_interpreter_that_it_chooses(running: Pilot, tmp_path: Path) -> None:
    exe = wrapper(tmp_path, FUTURE.format(python=sys.executable))
    fitting, other = own_app(running, python_exe=exe), own_app(running, python_exe=exe)
    record = running.client.get(f"/apps/{fitting}")
    assert record["serializer"]["python_exe"] == exe
    running.client.put(f"/apps/{fitting}", {"serializer": record["serializer"] | OTHER, "hooks": []})
    good, bad = running.submit(fitting) + running.submit(other)
    assert [row["state"] for row in running.wait_done([good, bad])] == ["JOB_FINISHED", "FAILED"]
    own = serializer_info()["python"]
    assert f"made with Python {own}" in error_of(running, bad)
    assert "this is Python 3.99" in error_of(running, bad)


def test_parameters_with_code_of_another_python_fail_the_job(running: Pilot) -> None:
    app = running.app_id(Sum)
    payload = base64.b64encode(cloudpickle.dumps({"a": lambda: 1})).decode()
    [job] = running.submit(app, serialized_parameters=payload, serializer=OTHER)
    assert running.wait_done([job])[0]["state"] == "FAILED"
    assert "the job's parameters can't be used here" in error_of(running, job)
    assert "made with Python 3.99" in error_of(running, job)


def test_result_with_code_of_another_python_is_told_where_it_is_asked_for(
    running: Pilot, tmp_path: Path
) -> None:
    def run(self: ApplicationDefinition) -> Any:
        return lambda: 1

    exe = wrapper(tmp_path, FUTURE.format(python=sys.executable))
    app = own_app(running, python_exe=exe, run=run)
    record = running.client.get(f"/apps/{app}")
    running.client.put(f"/apps/{app}", {"serializer": record["serializer"] | OTHER, "hooks": []})
    [job] = running.submit(app)
    running.wait_done([job])
    with session(running.client):
        found = Job.objects.get(id=job)
        with pytest.raises(
            ValueError, match=rf"job {job} in .* made with Python 3\.99 .* result with Python 3\.99"
        ):
            found.result()


def test_hooks_are_run_by_the_apps_own_interpreter(tmp_path: Path) -> None:
    from balsam.site.hooks import request_for

    job = {"id": 1, "state": "RUN_DONE", "workdir": "w"}
    app = {"id": 2, "name": "A", "serialized_class": "", "isolate": False}
    chosen = {**app, "serializer": {**serializer_info(), "python_exe": "/opt/python"}}
    assert request_for(job, chosen, tmp_path, 3).interpreter == "/opt/python"
    assert request_for(job, {**app, "serializer": None}, tmp_path, 3).interpreter == sys.executable
