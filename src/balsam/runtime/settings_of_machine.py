"""The settings.yml of a new site: the commented sample, with what its machine's file says put in."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import yaml

from balsam.platform.machine import Machine
from balsam.platform.nodes import NodeFacts
from balsam.runtime.settings import sample_settings_text


def settings_of_machine(machine: Machine) -> str:
    """The sample's comments stay; its values are the machine's."""
    submit = asdict(machine.submit)
    values = {
        "scheduler_class": machine.scheduler,
        # Where its file says what a node holds, the batch system does not have to.
        "compute_node": machine.name if machine.facts != NodeFacts() else machine.node,
        "mpi_app_launcher": machine.mpi_launcher,
        **submit,
        "always": None if machine.submit.always is None else list(machine.submit.always),
        "allowed_queues": {name: asdict(queue) for name, queue in machine.queues.items()},
        "allowed_projects": list(machine.projects),
    }
    text = sample_settings_text()
    for key, value in values.items():
        text = _with(text, key, value)
    return text


def _with(text: str, key: str, value: Any) -> str:
    """The text with another value of a key, which it holds once; what stands below the key goes."""
    found = re.search(
        rf"^(?P<indent> +){key}:(?P<rest>[^\n]*)\n(?P<below>(?:(?P=indent) +[^\n]*\n)*)", text, re.M
    )
    assert found, key
    old = yaml.safe_load(f"{key}:{found['rest']}\n{found['below']}")[key]
    if old == value:
        return text
    comment = re.search(r" #.*", found["rest"])
    told = comment[0] if comment else ""
    if isinstance(value, dict | list):
        block = yaml.safe_dump({key: value}, sort_keys=False, default_flow_style=False)
        # The dumper sets lists no deeper than their keys, and the sample does.
        deeper = "  " if isinstance(value, list) else ""
        first, *rest = block.splitlines()
        lines = f"{found['indent']}{first}{told}\n" + "".join(
            f"{found['indent']}{deeper}{one}\n" for one in rest
        )
    else:
        plain = yaml.safe_dump({key: value}).strip()
        lines = f"{found['indent']}{plain}{told}\n"
    return text[: found.start()] + lines + text[found.end() :]
