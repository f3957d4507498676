"""Functions and classes of the user in pools of processes that `run()` starts, however they start."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from balsam.runtime.requests import AppCode, Kind, Request
from balsam.runtime.worker_pool import WorkerPool, WorkerSetting
from balsam.schemas import deserialize
from tests.runtime.test_worker_pool import ask_all, job

PROJECT = {
    "physics/__init__.py": "",
    "physics/shapes.py": """
from __future__ import annotations
from dataclasses import dataclass
from . import units

@dataclass
class Square:
    side: float

    def area(self):
        return self.side ** 2 * units.FACTOR
""",
    "physics/units.py": """
from . import shapes
FACTOR = 2
def unit():
    return shapes.Square(1)
""",
    "apps.py": """
import multiprocessing
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor
from balsam.api import ApplicationDefinition
from physics import shapes, units

started = 0

def area(square):
    assert isinstance(square, shapes.Square)
    return shapes.Square(square.area())

class Areas(ApplicationDefinition):
    site = 1
    def run(self, method):
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(1, context) as pool:
            found = list(pool.map(area, [units.unit(), shapes.Square(2)]))
        assert all(type(square) is shapes.Square for square in found)
        assert pickle.loads(pickle.dumps(area)) is area and sys.modules["physics.shapes"] is shapes
        return [square.side for square in found]

class Jobs(ApplicationDefinition):
    site = 1
    def run(self):
        from joblib import Parallel, delayed
        return [square.side for square in Parallel(2)(delayed(area)(shapes.Square(n)) for n in (1, 2))]
""",
}
SCRIPT = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from balsam.api import ApplicationDefinition
from balsam.sdk.class_payload import class_payload

def double(x):
    return 2 * x

class Doubles(ApplicationDefinition):
    site = 1
    def run(self, method):
        with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
            return list(pool.map(double, range(3)))

print(class_payload(Doubles))
"""
METHODS = ("fork", "forkserver", "spawn")
Call = Callable[..., Any]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name, text in PROJECT.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "script.py").write_text(SCRIPT)
    return folder


def payload(project: Path, *arguments: str) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout.strip()


def payload_of(project: Path, name: str) -> str:
    text = (
        f"from balsam.sdk.class_payload import class_payload; import apps; print(class_payload(apps.{name}))"
    )
    return payload(project, "-c", text)


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    folder = tmp_path_factory.mktemp("site")
    pool = WorkerPool(1, WorkerSetting(str(folder)))

    def call(text: str, **parameters: Any) -> Any:
        request = Request(Kind.run, AppCode(hash(text), "App", text), job(parameters), str(folder / "w"))
        [reply] = ask_all(pool, [request])
        assert reply.ok, reply.error
        return deserialize(reply.serialized_return_value)

    yield call
    pool.close()


@pytest.mark.parametrize("method", METHODS)
def test_functions_of_imported_modules_run_in_pools(call: Call, project: Path, method: str) -> None:
    """Packages, relative imports, and modules that import each other among them."""
    assert call(payload_of(project, "Areas"), method=method) == [2, 8]


@pytest.mark.parametrize("method", METHODS)
def test_functions_of_the_script_run_in_pools_and_the_script_does_not(
    call: Call, project: Path, method: str
) -> None:
    assert call(payload(project, "script.py"), method=method) == [0, 2, 4]


def test_functions_run_in_pools_of_joblib(call: Call, project: Path) -> None:
    pytest.importorskip("joblib")
    assert call(payload_of(project, "Jobs")) == [2, 8]
