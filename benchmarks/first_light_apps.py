"""Apps that do nothing, as fast as they can."""

from __future__ import annotations

from balsam.api import ApplicationDefinition

SITE = "first-light"


class Nothing(ApplicationDefinition):
    """A command that ends at once."""

    site = SITE
    command_template = "/bin/true"


class NothingPython(ApplicationDefinition):
    """A function that returns at once."""

    site = SITE

    def run(self) -> int:
        return 0
