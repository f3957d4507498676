"""The app whose jobs the server's benchmarks create; nothing runs them."""

from __future__ import annotations

from balsam.api import ApplicationDefinition

SITE = "benchmark"


class Simulate(ApplicationDefinition):
    """No hook and no transfer, so that its jobs wait for nobody."""

    site = SITE
    command_template = "simulate --steps {{ steps }} --input {{ name }}"
