"""A command and a Python function, as small as they can be.

Subclass one, set `site`, and submit: `site` 0 is no site's id.
"""

from balsam.sdk.application import ApplicationDefinition

__all__ = ["Adder", "Hello"]


class Hello(ApplicationDefinition):
    site = 0
    command_template = "echo hello {{ name }}"


class Adder(ApplicationDefinition):
    site = 0

    def run(self, x: int, y: int) -> int:
        return x + y
