"""What an app takes: parameters from its declarations, its template or the signature of run(); slots."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from balsam.schemas import AppParameter, TransferSlot
from balsam.sdk import command_template
from balsam.sdk.parameters import ANY_NAME
from balsam.sdk.spelling import unknown

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from balsam.sdk.application import ApplicationDefinition


def check_definition(app: type[ApplicationDefinition]) -> None:
    """Raises AttributeError for a class that does not say how to run, or says it twice."""
    has_run, has_template = app.run is not None, app.command_template is not None
    if has_run == has_template:
        said = "both command_template and run()" if has_run else "neither command_template nor run()"
        raise AttributeError(f"the app {app.__name__} has {said}: exactly one is needed")
    for name, value in app.environment_variables.items():
        _check_variable(app.__name__, str(name), str(value))


def _check_variable(app: str, name: str, value: str) -> None:
    if not name or "=" in name or "\0" in name:
        raise ValueError(
            f"the app {app} sets an environment variable {name!r}: a name has a character, and no '='"
        )
    fault = command_template.unfit(name) or command_template.unfit(value)
    if fault:
        raise ValueError(f"the environment variable {name!r} of app {app} {fault}")


def warn_of_doubts(app: type[ApplicationDefinition]) -> None:
    """Warns where a command template hardly means what it says; TemplateError for one without a command.

    Also logs what no site of this release acts on.
    """
    if app.cleanup_files:
        log.warning(
            "app %s names cleanup_files, and sites of this release remove none: remove them in postprocess()",
            app.__name__,
        )
    if app.command_template is not None:
        for sentence in command_template.doubts(app.command_template):
            warnings.warn(
                f"the command template of app {app.__name__}: {sentence}",
                command_template.TemplateWarning,
                stacklevel=3,
            )


def declared_by(app: type[ApplicationDefinition]) -> Mapping[str, Any]:
    """What a class or one of its bases says in `parameters`."""
    said = inspect.getattr_static(app, "parameters")
    return said if isinstance(said, Mapping) else {}


class FoundParameters:
    """`parameters` of a class that declares none: those of its template or `run()`, as dicts."""

    def __get__(self, _: object, app: type[ApplicationDefinition]) -> dict[str, Any]:
        if (app.run is None) == (app.command_template is None):
            return {}  # a base of others
        return {name: spec.model_dump() for name, spec in parameters_of(app).items()}


class FoundDefaults:
    """`_default_params`: name to default, as text, of the parameters that have one."""

    def __get__(self, _: object, app: type[ApplicationDefinition]) -> dict[str, str]:
        found = parameters_of(app)
        return {name: spec.default for name, spec in found.items() if spec.default is not None}


class FoundSource:
    """`source_code`: the text of the class as it was defined, else a line that says why there is none."""

    def __get__(self, _: object, app: type[ApplicationDefinition]) -> str:
        from balsam.sdk import registration

        return registration.text_of(app)


def parameters_of(app: type[ApplicationDefinition]) -> dict[str, AppParameter]:
    """Name to parameter, in the order of the signature, or declared first and then by name.

    The name `**` stands for any: of a run() that takes `**kwargs`.
    """
    check_definition(app)
    declared = {name: _parameter(app, name, spec) for name, spec in declared_by(app).items()}
    if app.command_template is None:
        return of_signature(app.run) | declared
    found = {name: AppParameter(required=True) for name in command_template.names(app.command_template)}
    return declared | {name: spec for name, spec in found.items() if name not in declared}


@lru_cache(256)
def of_signature(run: Any) -> dict[str, AppParameter]:
    """The parameters of a run method, without self; defaults as text, help from the annotation."""
    _, *others = inspect.signature(run).parameters.values()
    return dict(_of_argument(argument) for argument in others)


def transfers_of(app: type[ApplicationDefinition]) -> dict[str, TransferSlot]:
    """Slot name to slot; ValueError names the app and the slot that is wrong."""
    try:
        return {name: TransferSlot.model_validate(slot) for name, slot in app.transfers.items()}
    except ValidationError as exc:
        raise ValueError(f"the transfers of app {app.__name__} are wrong: {exc}") from exc


def check_transfers(app: str, given: set[str], slots: dict[str, TransferSlot]) -> None:
    """Raises ValueError for a slot that the app does not have, or a required one that is not given."""
    for name in given:
        if name not in slots:
            raise ValueError(unknown(f"the app {app}", name, slots))
    missing = [name for name, slot in slots.items() if slot.required and name not in given]
    if missing:
        raise ValueError(f"the app {app} needs transfers for: {', '.join(missing)}")


def _of_argument(argument: inspect.Parameter) -> tuple[str, AppParameter]:
    if argument.kind is inspect.Parameter.VAR_KEYWORD:
        return ANY_NAME, AppParameter(required=False)
    if argument.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY):
        raise TypeError(f"run() takes its parameters by keyword; {argument} can't be given by keyword")
    required = argument.default is inspect.Parameter.empty
    default = None if required else str(argument.default)
    return argument.name, AppParameter(required=required, default=default, help=_help(argument.annotation))


def _help(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _parameter(app: type[ApplicationDefinition], name: str, spec: Any) -> AppParameter:
    try:
        return AppParameter.model_validate(spec)
    except ValidationError as exc:
        raise ValueError(f"the parameter {name!r} of app {app.__name__} is wrong: {exc}") from exc
