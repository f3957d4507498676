"""Job templates: from a batch job's facts to the script that its allocation runs."""

import shlex
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import jinja2

from balsam.core.start import command as start_command


class TemplateError(Exception):
    """A job template that can't be rendered; the message names the file, the line and the reason."""


@dataclass(frozen=True)
class Partition:
    """One launcher's share of an allocation."""

    job_mode: str
    num_nodes: int
    filter_tags: Mapping[str, str]


@dataclass(frozen=True)
class ScriptFacts:
    """What a job template may use; `wall_time_min` in minutes. `partitions` are rendered as flags."""

    batch_job_id: int
    project: str
    queue: str
    num_nodes: int
    wall_time_min: int
    job_mode: str
    filter_tags: Mapping[str, str]
    partitions: Sequence[Partition]
    optional_params: Mapping[str, str]
    balsam_site_path: Path
    balsam_bin: Path
    python: str


def quote(value: object) -> str:
    """One word of a shell command, whatever it holds."""
    return shlex.quote(str(value))


def launcher_command(python: str, batch_job_id: int) -> str:
    """The shell command that starts the launcher of a batch job."""
    words = start_command("balsam.launcher.main", python)
    return f"{' '.join(map(quote, words))} --batch-job {batch_job_id}"


def partition_flags(partitions: Sequence[Partition]) -> str:
    """`--part mode:num_nodes:key=value...` for each partition, quoted for the shell."""
    return " ".join(f"--part {quote(_partition_text(p))}" for p in partitions)


def _partition_text(partition: Partition) -> str:
    tags = [f"{key}={value}" for key, value in partition.filter_tags.items()]
    return ":".join([partition.job_mode, str(partition.num_nodes), *tags])


def render(template: str, facts: ScriptFacts, name: str = "job-template.sh") -> str:
    """The script; raises TemplateError where the template is wrong. `name` stands in messages.

    What there is not, such as a tag that this BatchJob does not have, is nothing.
    """
    environment = jinja2.Environment(undefined=jinja2.ChainableUndefined, keep_trailing_newline=True)
    environment.filters["quote"] = quote
    try:
        return environment.from_string(template).render(_variables(facts))
    except jinja2.TemplateSyntaxError as exc:
        raise TemplateError(f"{name}, line {exc.lineno}: {exc.message}") from exc
    except Exception as exc:  # its expressions are the user's code: they may raise anything
        known = ", ".join(_variables(facts))
        told = str(exc) if isinstance(exc, jinja2.TemplateError) else f"{type(exc).__name__}: {exc}"
        raise TemplateError(f"{name}{_line_of(exc)}: {told}; a job template may use {known}") from exc


def _line_of(exc: Exception) -> str:
    """Where in the template: Jinja gives its code the numbers of the template's lines."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(exc.__traceback__) if frame.filename == "<template>"
    ]
    return f", line {lines[-1]}" if lines else ""


def _variables(facts: ScriptFacts) -> dict[str, object]:
    plain = {field.name: getattr(facts, field.name) for field in fields(facts) if field.name != "python"}
    return {
        **facts.optional_params,  # as older templates have them
        **plain,
        "partitions": partition_flags(facts.partitions),
        "launcher_cmd": launcher_command(facts.python, facts.batch_job_id),
        "pg_bin": None,  # named in older templates
    }
