"""How far an app's code reaches, judged by its text: what may change others is never taken for what can't."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from balsam.runtime.shipped import Reach, ShippedApp
from balsam.sdk.application import ApplicationDefinition

WHOLE = """
import functools, json
from balsam.sdk.application import ApplicationDefinition
{before}
class App(ApplicationDefinition):
    site = 1
    {decorated}
    def run(self, module=json):
        {body}
"""
ASSIGNS = {
    "at once": ("", "", "json.dumps = str"),
    "in a function that is given the module": ("def fix(m): m.dumps = str", "", "fix(json)"),
    "in a function within": ("", "", "(lambda f: f(json))(lambda m: setattr(m, 'dumps', str))"),
    "in a definition within": ("", "", "def fix(m): m.dumps = str\n        fix(json)"),
    "in a static method": ("class P:\n    @staticmethod\n    def fix(m): m.dumps = str", "", "P.fix(json)"),
    "in a class within a class": (
        "class P:\n    class Q:\n        def fix(m, n): n.dumps = str",
        "",
        "P.Q()",
    ),
    "by another name of its own object": ("", "", "self = json; self.dumps = str"),
    "by a loop": ("", "", "for json.dumps in [str]: pass"),
    "by the class of classes": ("", "", "type.__setattr__(json.JSONEncoder, 'default', str)"),
    "below a decorator": ("def same(f): return lambda *a: f(*a)", "@same", "json.dumps = str"),
    "below a cache": ("", "@functools.lru_cache", "json.dumps = str"),
    "in a table": ("def fix(m): m.dumps = str\nTABLE = {'fix': fix}\ndel fix", "", "TABLE['fix'](json)"),
    "in a partial function": ("fix = functools.partial(lambda m: setattr(m, 'x', 1), json)", "", "fix()"),
}
KEEPS = {
    "nothing": ("", "", "return 1"),
    "its own object": ("", "", "self.left = 1"),
    "an object of a class of its own": ("class P:\n    def __init__(self): self.x = 1", "", "return P().x"),
}


def reach(before: str, decorated: str, body: str) -> Reach:
    made = ModuleType("reaching_apps")
    sys.modules[made.__name__] = made
    try:
        exec(WHOLE.format(before=before, decorated=decorated, body=body), vars(made))
    finally:
        del sys.modules[made.__name__]
    app_class: type[ApplicationDefinition] = made.App

    def load(modules: object) -> type[ApplicationDefinition]:
        modules.by_name[made.__name__] = made  # type: ignore[attr-defined]
        return app_class

    shipped = ShippedApp(load, {})
    shipped.open()
    return shipped.reach


@pytest.mark.parametrize("how", ASSIGNS)
def test_code_that_may_change_others_is_known(how: str) -> None:
    """Kind: a change that is not looked for, since the code was thought to make none."""
    assert reach(*ASSIGNS[how]).assigns


@pytest.mark.parametrize("how", KEEPS)
def test_code_that_changes_no_others_costs_less(how: str) -> None:
    assert not reach(*KEEPS[how]).assigns
