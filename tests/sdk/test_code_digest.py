"""The digest of an app's code: a function of what it does, whoever looks at it, and where.

The kind of fault: a digest that differs for the same code makes a version at each start of a script, and one
that is the same for other code runs old code without a word.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from balsam.api import ApplicationDefinition
from balsam.schemas.user_code import unsent_modules
from balsam.sdk.bytecode import uses_of
from balsam.sdk.registration import digest_of

HELPERS = """
import enum
from dataclasses import dataclass, field
from functools import lru_cache

SCALE = 2
KNOWN = {"b", "a", "c"}

class Mode(enum.Enum):
    fast = 1
    slow = 2

    def factor(self):
        return 1

@dataclass
class Point:
    x: float
    tags: frozenset = frozenset({"p", "q", "r"})
    more: dict = field(default_factory=dict)

    def norm(self):
        return abs(self.x)

@lru_cache(maxsize=None)
def cached(x):
    return deep(x)

def deep(x):
    return x + 1

def unused(x):
    return x
"""
APPS = """
import functools
import logging
from pathlib import Path

import helpers
from balsam.api import ApplicationDefinition

log = logging.getLogger(__name__)
LIMIT = 3
TABLE = {"a": {1, 2, 3}, "b": [helpers.Point(1.0)], "c": Path("x/y")}
twice = functools.partial(pow, exp=2)

def local(x):
    # a comment
    return x * LIMIT

def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper

class Base(ApplicationDefinition):
    site = "lab"

    def postprocess(self):
        if self.job.state in {"RUN_DONE", "RUN_ERROR", "RUN_TIMEOUT"}:
            super().postprocess()

class Mine(Base):
    '''What it is.'''

    environment_variables = {"A": "1", "B": "2"}

    @decorated
    def run(self, x: int = 1, mode: str = "fast"):
        log.info("%s", __name__)
        return self.helper(local(x)) * helpers.SCALE + helpers.cached(x), TABLE, twice, helpers.Mode.fast

    @staticmethod
    def helper(x):
        return sorted(y for y in helpers.KNOWN if y != x)
"""
TELL = """
import sys
from balsam.sdk.registration import digest_of
code = digest_of(Mine)
print(code.digest)
for name, digest in sorted(code.parts.items()):
    print(name, digest)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "helpers.py").write_text(HELPERS)
    (tmp_path / "apps.py").write_text(APPS)
    return tmp_path


def parts(folder: Path, code: str = "from apps import Mine\n" + TELL, seed: str = "random") -> dict[str, str]:
    """Part to digest, as another process finds them; the whole's is under an empty name."""
    ended = subprocess.run(
        [sys.executable, "-c", code] if code.endswith(TELL) else [sys.executable, code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )
    assert ended.returncode == 0, ended.stderr
    first, *others = ended.stdout.splitlines()
    found = dict(line.rsplit(" ", 1) for line in others)
    return {"": first, **found}


def test_the_same_code_has_the_same_digest_in_every_process(folder: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda seed: parts(folder, seed=str(seed)), range(6)))
    assert all(one == found[0] for one in found)
    assert {"Mine.run", "Base.postprocess", "local", "helpers.deep", "helpers.Point.norm"} <= found[0].keys()
    assert "helpers.unused" not in found[0]


def test_place_and_way_of_start_do_not_count(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("apps.py", "helpers.py"):
        (elsewhere / name).write_text((folder / name).read_text())
    (elsewhere / "script.py").write_text(APPS + TELL)
    expected = parts(folder)[""]
    assert parts(elsewhere)[""] == expected
    assert parts(elsewhere, "script.py")[""] == expected


def test_comments_and_blank_lines_do_not_count(folder: Path) -> None:
    before = parts(folder)
    changed = APPS.replace("# a comment", "# another comment\n\n    # and one more")
    (folder / "apps.py").write_text(f"# above\n\n{changed}")
    (folder / "helpers.py").write_text(f"\n# above\n{HELPERS}")
    assert parts(folder) == before


# `Mine.run` is the wrapper that a decorator made, `Mine.run#2` what it wraps.
@pytest.mark.parametrize(
    ("file", "old", "new", "part"),
    [
        ("apps.py", "x * LIMIT", "x + LIMIT", "local"),
        ("apps.py", "LIMIT = 3", "LIMIT = 4", "local"),
        ("apps.py", '"RUN_DONE", ', "", "Base.postprocess"),
        ("apps.py", "if y != x", "if y == x", "Mine.helper"),
        ("apps.py", "exp=2", "exp=3", "Mine.run#2"),
        ("apps.py", "{1, 2, 3}", "{1, 2, 4}", "Mine.run#2"),
        ("apps.py", '"B": "2"', '"B": "3"', "Mine.environment_variables"),
        ("apps.py", "What it is", "What it was", "description"),
        ("apps.py", "x: int = 1", "x: int = 2", "parameters"),
        ("apps.py", "return function(*args, **kwargs)", "return function(*args)", "Mine.run"),
        ("helpers.py", "return x + 1", "return x + 2", "helpers.deep"),
        ("helpers.py", "SCALE = 2", "SCALE = 3", None),
        ("helpers.py", '{"b", "a", "c"}', '{"b", "a"}', "Mine.helper"),
        ("helpers.py", "slow = 2", "slow = 3", "helpers.Mode"),
        ("helpers.py", "return 1\n", "return 2\n", "helpers.Mode.factor"),
        ("helpers.py", "abs(self.x)", "self.x", "helpers.Point.norm"),
        ("helpers.py", '"p", "q", "r"', '"p", "q"', "helpers.Point.tags"),
    ],
)
def test_other_code_has_another_digest_and_tells_the_part(
    folder: Path, file: str, old: str, new: str, part: str | None
) -> None:
    before = parts(folder, seed="0")
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    os.utime(folder / file, (0, 0))  # or bytecode of the text before may stand for it, in the same second
    after = parts(folder, seed="1")
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert "" in changed
    assert part is None or part in changed


def test_what_a_function_does_not_use_does_not_count(folder: Path) -> None:
    before = parts(folder)
    (folder / "helpers.py").write_text(
        HELPERS.replace("def unused(x):\n    return x", "def unused(x):\n    pass")
    )
    assert parts(folder) == before


def test_a_variable_with_the_name_of_an_attribute_does_not_count(folder: Path) -> None:
    """The kind: a name counts where the code looks it up, so that a script's loop makes no version."""
    code = "from apps import Mine\nimport apps\napps.helper = apps.norm = apps.info = {}" + TELL
    assert parts(folder, code.format("1")) == parts(folder, code.format("[Mine]"))


def test_modules_that_functions_import_are_known() -> None:
    code = compile(
        "def f():\n  import a.b, c as d\n  from .e import g\n  from .. import h\n"
        "  def inner():\n    import k\n  return inner",
        "<test>",
        "exec",
    )
    assert uses_of(code, "lab.own").imported == {"a.b", "c", "lab.own.e", "lab", "k"}


def test_what_a_function_imports_and_is_not_sent_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kind: what does not travel with an app is named when the app is registered, not when it runs."""
    monkeypatch.syspath_prepend(str(folder))
    assert unsent_modules(["helpers", "helpers.inner", "json", "pytest", "no_such_module"]) == [
        "helpers",
        "helpers.inner",
    ]
    assert "helpers" not in sys.modules


def test_a_class_that_came_by_value_has_the_digest_of_the_one_that_was_sent(folder: Path) -> None:
    sending = "from apps import Mine\nfrom balsam.sdk.class_payload import class_payload\n"
    sending += "open('payload', 'w').write(class_payload(Mine))\n"
    # A cache travels by the name of its module, which is not to be found there.
    (folder / "helpers.py").write_text(HELPERS.replace("@lru_cache(maxsize=None)\n", ""))
    expected = parts(folder, sending + TELL)[""]
    receiver = folder / "receiver"
    receiver.mkdir()
    opening = "from balsam.schemas import deserialize\nMine = deserialize(open('../payload').read())\n"
    assert parts(receiver, opening + TELL)[""] == expected


def test_values_that_refer_to_themselves_or_each_other_end() -> None:
    ring: list[object] = [1]
    ring.append(ring)
    web: list[object] = []
    for _ in range(40):
        web = [web, web, list(web)]

    class Ringed(ApplicationDefinition):
        site = 1

        def run(self) -> object:
            return ring, web

    first = digest_of(Ringed).digest
    assert digest_of(Ringed).digest == first
    ring[0] = 2
    assert digest_of(Ringed).digest != first


def test_a_definition_that_is_replaced_is_noticed() -> None:
    """A cell of a notebook that defines a helper anew leaves the class as it was."""
    namespace: dict[str, object] = {"ApplicationDefinition": ApplicationDefinition, "__name__": "cell"}
    exec(
        textwrap.dedent(
            """
            def helper():
                return 1

            class Cell(ApplicationDefinition):
                site = 1
                def run(self):
                    return helper()
            """
        ),
        namespace,
    )
    cell: type[ApplicationDefinition] = namespace["Cell"]  # type: ignore[assignment]
    code = digest_of(cell)
    assert code.watch.is_unchanged()
    exec("def helper():\n    return 2", namespace)
    assert not code.watch.is_unchanged()
    assert digest_of(cell).digest != code.digest
    code = digest_of(cell)
    cell.preprocess = lambda self: None  # type: ignore[method-assign]
    assert not code.watch.is_unchanged()
