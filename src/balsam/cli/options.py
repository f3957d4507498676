"""Option types and texts that several commands share."""

import sys
from collections.abc import Callable, Container, Iterable
from enum import StrEnum
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from balsam.cli.completion_values import site_names
from balsam.cli.typed_text import TypedText
from balsam.core import tags

F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E", bound=StrEnum)


class NoTerminal(click.ClickException):
    """A question that nobody can answer; not a UsageError, for the usage is no help here."""

    exit_code = 2


def _not_blank(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Refuses an empty text: it comes of a variable that is not set, and must not mean the default."""
    is_given = context.get_parameter_source(parameter.name or "") is not ParameterSource.DEFAULT
    if is_given and not value.strip():
        raise click.BadParameter(f"{value!r} names nothing", param=parameter)
    return value


class Word(TypedText):
    """Text that chooses something, and so is not empty."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text: str = super().convert(value, param, ctx)
        if not text.strip():
            self.fail(f"{text!r} names nothing", param, ctx)
        return text


THIS_OR_ALL = "this inside a site folder, else all"


def site_option(
    *more_flags: str, variable: str = "site_selector", default: str = THIS_OR_ALL
) -> Callable[[F], F]:
    """`--site`: which sites a command acts on; `default`: what its help says of no choice."""
    return click.option(
        *more_flags,
        "--site",
        variable,
        default="",
        callback=_not_blank,
        metavar="SELECTOR",
        shell_complete=site_names,
        help="Sites: all, this, active, or ids, names or path fragments with commas between. "
        f"Default: {default}.",
    )


def pairs(texts: Iterable[str], flag: str) -> dict[str, str]:
    """`key=value` texts as a dict; raises click.BadParameter naming the flag.

    For what is no tag: a value may hold anything, and there is no other way to write it.
    """
    result = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{text!r} is not of the form key=value", param_hint=flag)
        result[key] = value
    return result


def tags_of(texts: Iterable[str], flag: str) -> dict[str, str]:
    """Tags, `key=value` or, as in release 0.7, `key:value`; click.BadParameter names the flag."""
    try:
        return tags.tags_of(texts)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint=flag) from exc


def words_of(texts: Iterable[str], flag: str) -> list[str]:
    """Words from `a`, `a,b` or several of these; raises click.BadParameter for a text that holds none.

    It comes of a script's variable that is not set, and must not choose as if the flag were not there.
    """
    words = []
    for text in texts:
        found = [word.strip() for word in text.split(",") if word.strip()]
        if not found:
            raise click.BadParameter(f"{text!r} names nothing", param_hint=flag)
        words += found
    return words


def ids_of(texts: Iterable[str], flag: str = "--id") -> list[int]:
    """Ids from `3`, `3,4,5` or several of these; raises click.BadParameter naming the flag."""
    words = " ".join(words_of(texts, flag)).split()
    for word in words:
        if not word.isdecimal():
            raise click.BadParameter(f"{word!r} is no id", param_hint=flag)
    return [int(word) for word in words]


def member(enum: type[E], text: str, flag: str) -> E:
    """The enum's member with this value or name, in any case; else click.BadParameter listing them."""
    wanted = text.strip().lower()
    for value in enum:
        if wanted in (value.value.lower(), value.name.lower()):
            return value
    raise click.BadParameter(f"{text!r} is none of {', '.join(enum)}", param_hint=flag)


def confirm(question: str, assume_yes: bool, flag: str = "-y") -> None:
    """Returns if the answer is yes; without a terminal, refuses and names the flag that answers."""
    if assume_yes:
        return
    if not can_ask():
        raise NoTerminal(f"{question} There is no terminal to ask on: repeat with {flag}.")
    click.confirm(question, abort=True)


def can_ask() -> bool:
    """Whether there is a terminal on which somebody can answer; a closed standard input is none."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def counted(number: int, noun: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def given_options(context: click.Context) -> list[click.Parameter]:
    """The options and arguments that the command line holds."""
    return [
        one
        for one in context.command.params
        if context.get_parameter_source(str(one.name)) is ParameterSource.COMMANDLINE
        and context.params.get(str(one.name)) is not None
    ]


def flag_of(one: click.Parameter) -> str:
    """How an option is named in a sentence."""
    if isinstance(one, click.Argument):
        return "an ID"
    return "/".join([max(one.opts, key=len), *one.secondary_opts])


def refuse_idle(names: Container[str], when: str) -> None:
    """Raises click.UsageError for an option of these that was given; `when`: beside what it does nothing."""
    for one in given_options(click.get_current_context()):
        if one.name in names:
            raise click.UsageError(f"{flag_of(one)} does nothing {when}.")
