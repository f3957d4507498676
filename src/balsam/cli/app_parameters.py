"""Parameters of an app as they are typed: text for commands, values of the declared types for functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from balsam.sdk import declared_types
from balsam.sdk.application import ApplicationDefinition, ModuleLoadError
from balsam.sdk.apps import App
from balsam.sdk.declared_types import NotOfType


def parameter_values(app: App, texts: Mapping[str, str]) -> dict[str, Any]:
    """The values that the app is to get; raises click.BadParameter naming the one that is of no such type."""
    if not texts:
        return {}
    try:
        run = ApplicationDefinition.from_serialized(app).run
    except ModuleLoadError as exc:
        if any(declared_types.undeclared(text) != text for text in texts.values()):
            click.echo(f"Parameters stay text, for the app can't be loaded here: {exc}", err=True)
        return dict(texts)
    if run is None:
        return dict(texts)
    kinds = declared_types.of_run(run)
    return {name: _value(name, text, kinds.get(name, Any), run) for name, text in texts.items()}


def _value(name: str, text: str, kind: Any, run: Any) -> Any:
    try:
        return declared_types.value_of(text, kind)
    except NotOfType as exc:
        if not declared_types.is_declared(run, name):  # a default of another type is no declaration
            return declared_types.undeclared(text)
        raise click.BadParameter(f"{name}: {exc}", param_hint="--param") from exc
