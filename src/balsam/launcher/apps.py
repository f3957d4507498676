"""What a launcher knows of the apps whose jobs it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from balsam.runtime.requests import AppCode
from balsam.sdk import command_template

# Where an app overrides one of these, only its own code knows the command.
_MAKE_COMMANDS = {"get_arg_str", "shell_preamble", "get_environ_vars"}


@dataclass(frozen=True, slots=True)
class AppPlan:
    """How jobs of an app are run. `template` None: by its `run()` in a worker of `interpreter`."""

    code: AppCode
    template: str | None
    defaults: Mapping[str, str]
    environment: Mapping[str, str]
    interpreter: str
    isolate: bool
    makes_own_command: bool
    has_preamble: bool = False
    strict: bool = False

    @classmethod
    def of_description(cls, code: AppCode, said: Mapping[str, Any]) -> AppPlan:
        """From a worker's answer to `describe`."""
        return cls(
            code=code,
            template=said["command_template"],
            defaults=said["defaults"],
            environment=said["environment_variables"],
            interpreter=said["python_exe"],
            isolate=said["isolate"],
            makes_own_command=bool(_MAKE_COMMANDS & set(said["overrides"])),
            has_preamble="shell_preamble" in said["overrides"],
            strict=said.get("strict", False),  # an interpreter of the user's may have an older balsam
        )

    def renders_here(self, job: Mapping[str, Any]) -> bool:
        """Whether the launcher can make the job's command at once, without the app's code or its pickles."""
        return (
            not self.makes_own_command
            and (job["parameters_json"] is not None or not job["serialized_parameters"])
            and self.template is not None
            and command_template.is_plain(self.template)
        )
