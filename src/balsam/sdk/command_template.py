"""Command templates: Jinja2 text in which an app's parameters stand in double braces.

Values are put in as they are, so that a parameter may hold several words or a redirection. Where a value
comes from elsewhere, quote it for the shell: `{{ name | q }}`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment, Template


class TemplateError(ValueError):
    """A command template that can't be read, or that names a parameter which the job does not have."""


@lru_cache(256)
def names(template: str) -> tuple[str, ...]:
    """The parameters that a template names, sorted."""
    import jinja2
    import jinja2.meta

    try:
        return tuple(sorted(jinja2.meta.find_undeclared_variables(_environment().parse(one_line(template)))))
    except jinja2.TemplateError as exc:
        raise TemplateError(f"the command template {template!r} can't be read: {exc}") from exc


def render(template: str, parameters: Mapping[str, Any]) -> str:
    """The command; TemplateError names a parameter that is missing."""
    if "{" not in template:
        return one_line(template)
    import jinja2

    try:
        return _compiled(template).render(parameters)
    except jinja2.TemplateError as exc:
        raise TemplateError(f"the command template {template!r} can't be filled in: {exc}") from exc


@lru_cache(256)
def _compiled(template: str) -> Template:
    """Compiling costs more than starting the process that it is for."""
    return _environment().from_string(one_line(template))


def one_line(template: str) -> str:
    """One command: line breaks, with the indentation around them, count as one space."""
    lines = (line.strip().removesuffix("\\").rstrip() for line in template.splitlines())
    return " ".join(line for line in lines if line)


@cache
def _environment() -> Environment:
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    environment.filters["q"] = lambda value: shlex.quote(str(value))
    return environment
