"""Registers apps whose parameters release 0.7 can't express; run with this release."""

from balsam.api import ApplicationDefinition, Site

Site.objects.create("optional", "/optional")


class Keywords(ApplicationDefinition):
    site = "optional"

    def run(self, x: int, y: str = "", z: object = None, **more: object) -> int:
        return x


class Empty(ApplicationDefinition):
    site = "optional"
    command_template = "echo {{ x }} {{ y }}"
    parameters = {"y": {"required": False, "default": ""}}


Keywords.sync()
Empty.sync()
print("{}")
