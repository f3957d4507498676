"""Parameters of an app as they are typed: text for commands, values for Python functions."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any, NoReturn

import click

from balsam.sdk.application import ApplicationDefinition, ModuleLoadError
from balsam.sdk.apps import App


def parameter_values(app: App, texts: Mapping[str, str]) -> dict[str, Any]:
    """The values that the app is to get; its class is loaded only where some text is JSON."""
    values = {name: value_of(text) for name, text in texts.items()}
    if values == texts:
        return values
    try:
        run = ApplicationDefinition.from_serialized(app).run
    except ModuleLoadError as exc:
        click.echo(f"Parameters stay text, for the app can't be loaded here: {exc}", err=True)
        return dict(texts)
    return dict(texts) if run is None else {**values, **_texts_of(run, texts)}


def value_of(text: str) -> Any:
    """What the text says as JSON; the text itself where it is none."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError:
        return text


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _texts_of(run: Any, texts: Mapping[str, str]) -> dict[str, str]:
    """Those whose parameter is annotated as text."""
    known = inspect.signature(run).parameters
    return {
        name: text for name, text in texts.items() if name in known and known[name].annotation in (str, "str")
    }
