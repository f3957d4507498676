"""A Python function."""

from balsam.sdk.application import ApplicationDefinition


class Adder(ApplicationDefinition):
    site = 0

    def run(self, x: int, y: int) -> int:
        return x + y
