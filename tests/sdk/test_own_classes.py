"""Classes of the user's modules travel by value, and come back as those that the program knows.

Kind: identity of what a user's script defines, on its way to a run and back. Each test runs real programs:
one that submits, one that stands for the worker, and one that reads, each with its own interpreter.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = {
    "lab/__init__.py": "",
    "lab/kinds.py": """
import enum
from collections import namedtuple
from dataclasses import dataclass, field
from typing import NamedTuple
from . import errors

class Phase(enum.Enum):
    SOLID = 1
    LIQUID = 2

class Flags(enum.IntFlag):
    A = 1
    B = 2

Point = namedtuple("Point", "x y")

class Pair(NamedTuple):
    left: int
    right: int = 0

@dataclass(frozen=True)
class Lattice:
    a: float
    phase: Phase = Phase.SOLID
    pairs: list = field(default_factory=list)

    class Inner:
        pass

class Slotted:
    __slots__ = ("x",)
    def __init__(self, x): self.x = x
    def __eq__(self, other): return isinstance(other, Slotted) and self.x == other.x
    __hash__ = None

def scaled(x):
    return 2 * x
""",
    "lab/errors.py": """
from . import kinds

class Diverged(Exception):
    pass

class Odd(Exception):
    def __init__(self, step, *, energy):
        super().__init__(f"at step {step}")
        self.step, self.energy = step, energy

class Coded(OSError):
    def __init__(self, code, phase):
        OSError.__init__(self, code, "no luck", "file.dat")
        self.phase = phase
""",
}
VALUES = """
from lab import kinds
from lab.kinds import Flags, Lattice, Pair, Phase, Point, Slotted
VALUE = {
    "lattice": Lattice(1.5, Phase.LIQUID, [Pair(1, 2), Point(3, 4)]),
    "phase": Phase.SOLID, "flags": Flags.A | Flags.B, "function": kinds.scaled, "class": Lattice,
    "inner": Lattice.Inner, "slotted": Slotted([1]), "module": kinds,
}
"""
WRITE = """
import sys
from values import VALUE
from balsam.sdk.parameters import fields_of
print(fields_of(VALUE, "w")["serialized_parameters"])
"""
ECHO = """
# A process without the user's files: it opens what was sent, and sends it back.
import sys
from balsam.schemas import deserialize, serialize
value = deserialize(sys.stdin.read())
assert type(value["lattice"]).__name__ == "Lattice" and value["function"](2) == 4
assert value["phase"] is type(value["phase"]).SOLID
del value["module"]
print(serialize(value))
"""
READ = """
import sys
from balsam.schemas import deserialize
value = deserialize(sys.stdin.read())
{imports}
from values import VALUE, kinds
assert value["lattice"] == VALUE["lattice"] and type(value["lattice"]) is kinds.Lattice
assert value["phase"] is kinds.Phase.SOLID and value["lattice"].phase is kinds.Phase.LIQUID
assert value["flags"] is kinds.Flags.A | kinds.Flags.B
assert value["class"] is kinds.Lattice and value["inner"] is kinds.Lattice.Inner
assert value["slotted"] == VALUE["slotted"]
assert value["function"] is kinds.scaled
assert [type(pair) for pair in value["lattice"].pairs] == [kinds.Pair, kinds.Point]
"""
RAISE = """
import sys
from lab import errors, kinds
from balsam.schemas import serialize_exception
made = {{"diverged": errors.Diverged("after", 3), "odd": errors.Odd(3, energy=1.5),
         "coded": errors.Coded(28, kinds.Phase.LIQUID)}}[{name!r}]
made.add_note("a note")
try:
    try:
        raise KeyError("first")
    except KeyError as exc:
        raise made from exc
except Exception as exc:
    print(serialize_exception(exc))
"""
CATCH = """
import sys
from balsam.schemas import raise_from_serialized
from balsam.schemas.payloads import RemoteTraceback
from lab import errors, kinds
try:
    raise_from_serialized(sys.stdin.read())
except {kind} as exc:
    assert exc.__notes__ == ["a note"]
    assert isinstance(exc.__cause__, KeyError) and exc.__cause__.args == ("first",)
    assert isinstance(exc.__cause__.__cause__, RemoteTraceback)
    assert {check}, vars(exc)
"""


@dataclass(frozen=True)
class Programs:
    """Runs programs in the user's folder, or where there is nothing of the user's."""

    folder: Path
    elsewhere: Path

    def run(self, text: str, typed: str = "", *, away: bool = False) -> str:
        command = [sys.executable, "-c", text]
        folder = self.elsewhere if away else self.folder
        done = subprocess.run(command, cwd=folder, input=typed, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    folder = tmp_path_factory.mktemp("project")
    for name, text in {**PROJECT, "values.py": VALUES}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return Programs(folder, tmp_path_factory.mktemp("elsewhere"))


@pytest.mark.parametrize("imports", ["", "import lab.kinds"])
def test_what_comes_back_is_of_the_classes_that_the_program_knows(programs: Programs, imports: str) -> None:
    """Whether it has imported them before, or does so afterwards."""
    sent = programs.run(WRITE)
    back = programs.run(ECHO, sent, away=True)
    programs.run(READ.format(imports=imports), back)


@pytest.mark.parametrize(
    ("name", "kind", "check"),
    [
        ("diverged", "errors.Diverged", "exc.args == ('after', 3)"),
        ("odd", "errors.Odd", "(exc.step, exc.energy, str(exc)) == (3, 1.5, 'at step 3')"),
        ("coded", "errors.Coded", "(exc.errno, exc.filename) == (28, 'file.dat')"),
        (
            "coded",
            "OSError",
            "exc.phase is kinds.Phase.LIQUID and str(exc) == \"[Errno 28] no luck: 'file.dat'\"",
        ),
    ],
)
def test_exceptions_are_caught_by_their_classes(programs: Programs, name: str, kind: str, check: str) -> None:
    sent = programs.run(RAISE.format(name=name))
    programs.run(CATCH.format(kind=kind, check=check), sent)


SCRIPT = """
import sys
from dataclasses import dataclass
from balsam.schemas import deserialize, raise_from_serialized, serialize, serialize_exception

@dataclass
class Own:
    x: int

class Failed(Exception):
    pass

if len(sys.argv) < 2:
    print(serialize(Own(3)))
    print(serialize_exception(Failed("so")))
else:
    value, error = sys.stdin.read().split()
    assert deserialize(value) == Own(3)
    try:
        raise_from_serialized(error)
    except Failed as exc:
        assert str(exc) == "so"
"""


def test_classes_of_a_script_are_those_of_the_same_script_run_again(programs: Programs) -> None:
    (programs.folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py"]
    sent = subprocess.run(command, cwd=programs.folder, capture_output=True, text=True, check=True)
    again = subprocess.run(
        [*command, "read"], cwd=programs.folder, input=sent.stdout, text=True, capture_output=True
    )
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("what", ["from values import Lattice; print(serialize(Lattice(1.5)))", ""])
def test_a_reader_without_cloudpickle_opens_users_classes(programs: Programs, what: str) -> None:
    """As in environments of the published release."""
    imports = "from balsam.schemas import serialize\n"
    sent = programs.run(imports + what if what else RAISE.format(name="odd"))
    opened = programs.run(WITHOUT, sent, away=True)
    assert ("Lattice" if what else "Odd") in opened


WITHOUT = """
import base64, pickle, sys
sys.modules["cloudpickle"] = None
class Absent:
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "cloudpickle":
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
del sys.modules["cloudpickle"]
print(pickle.loads(base64.b64decode(sys.stdin.read())))
assert not any(name.startswith("cloudpickle") and module.__dict__.get("Pickler") for name, module in
               sys.modules.items())
"""


def test_values_of_a_program_carry_no_more_than_they_use(programs: Programs) -> None:
    """A module beside the class, with data of its own, stays where it is."""
    (programs.folder / "data.py").write_text("TABLE = list(range(100_000))\nclass Small:\n    pass\n")
    text = "from balsam.schemas import serialize\nfrom data import Small\nprint(serialize(Small()))"
    assert len(programs.run(text)) < 6_000


WRAPPED = """
import functools, typing, weakref

@functools.lru_cache(maxsize=3)
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

class Table:
    def __init__(self, n): self.n = n
    @functools.cached_property
    def square(self): return self.n**2
    @staticmethod
    @functools.cache
    def twice(n): return 2 * n
    part = functools.partialmethod(lambda self, a, b: a - b, 5)

@functools.singledispatch
def kind(x):
    return "any"

@kind.register
def _(x: int):
    return "int"

class Row(typing.TypedDict, total=False):
    a: typing.Required[int]
    b: str

SEEN = weakref.WeakValueDictionary()

def everything():
    table = Table(3)
    SEEN["table"] = table
    keys = sorted(Row.__required_keys__), sorted(Row.__optional_keys__)
    kinds = kind(1), kind("")
    return fib(20), fib.cache_info().maxsize, table.square, Table.twice(4), table.part(3), kinds, keys
"""


def test_what_wraps_a_function_travels_with_the_function(programs: Programs) -> None:
    """The kind: what Python's library makes of a user's function or class is the user's, too."""
    (programs.folder / "wrapped.py").write_text(WRAPPED)
    write = "from balsam.schemas import serialize\nimport wrapped\nprint(serialize(wrapped.everything))"
    read = "import sys\nfrom balsam.schemas import deserialize\nprint(deserialize(sys.stdin.read())())"
    told = programs.run(read, programs.run(write), away=True)
    assert told.strip() == "(6765, 3, 9, 8, 2, ('int', 'any'), (['a'], ['b']))"


@pytest.mark.parametrize(
    ("module", "name"),
    [("balsam.sdk.application", "ModuleLoadError"), ("balsam.sdk.parameters", "ParameterError")],
)
def test_an_exception_of_this_library_opens_where_there_is_another_release(
    programs: Programs, module: str, name: str
) -> None:
    """The kind: what names a class that other releases lack opens there all the same, with its text."""
    write = f"""
from balsam.schemas import serialize_exception
from {module} import {name}
print(serialize_exception({name}("the app does not load")))
"""
    sent = programs.run(write)
    same = """
import sys
from balsam.schemas import raise_from_serialized
try:
    raise_from_serialized(sys.stdin.read())
except Exception as exc:
    print(type(exc).__name__, exc)
"""
    assert programs.run(same, sent, away=True).startswith(f"{name} ")
    assert "the app does not load" in programs.run(ANOTHER_RELEASE, sent, away=True)


ANOTHER_RELEASE = """
import base64, pickle, sys, types
balsam = types.ModuleType("balsam")
balsam.__path__ = []
sys.modules["balsam"] = balsam
balsam.__spec__ = type(sys.__spec__)("balsam", None)
exc, _ = pickle.loads(base64.b64decode(sys.stdin.read()))
assert type(exc) is RuntimeError
print(exc)
"""
