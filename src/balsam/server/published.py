"""Answers for programs of release 0.7, whose validators refuse what they do not know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Request

ANY_NAME = "**"  # of a run() that takes any keyword


def _is_reader(request: Request) -> bool:
    """Its client names the library that it uses, and no program of ours uses that one."""
    return request.headers.get("user-agent", "").startswith("python-requests/")


IsPublished = Annotated[bool, Depends(_is_reader)]


def app(answer: dict[str, Any], *, is_published: bool) -> dict[str, Any]:
    """An app's answer in the form that its reader takes."""
    return {**answer, "parameters": parameters(answer["parameters"])} if is_published else answer


def parameters(known: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each with a default if it is optional, and without one if it is not, as release 0.7 demands.

    An optional one without a default, or with an empty one, is shown as required: its class, which that
    release reads for itself, knows better. Any further keyword can't be told at all.
    """
    return {name: _parameter(spec) for name, spec in known.items() if name != ANY_NAME}


def _parameter(spec: Mapping[str, Any]) -> dict[str, Any]:
    default = spec.get("default")
    if not spec["required"] and default:
        return {**spec}
    return {**spec, "required": True, "default": None}
