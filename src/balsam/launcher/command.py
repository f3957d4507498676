"""From a rendered command to the argument list that is started; without a shell where none is needed."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_NEEDS_SHELL = re.compile(r"[|&;<>()$`\\*?\[\]#~!{}\n]")
_BARE = re.compile(r"[\w./:,+@%= -]+", re.ASCII)  # no quotes, and spaces alone between words
_SHELL_WORDS = frozenset(
    """
    if then else elif fi for while until do done case esac select function time coproc in . : [[
    alias bg bind break builtin caller cd command compgen complete continue declare dirs disown
    enable eval exec exit export fc fg getopts hash help history jobs let local logout mapfile popd
    pushd read readarray readonly return set shift shopt source suspend times trap type typeset
    ulimit umask unalias unset wait
    """.split()  # noqa: SIM905 - a list of these in quotes is hard to read
)
_SHELL = next((path for path in ("/bin/bash", "/usr/bin/bash") if Path(path).exists()), "/bin/sh")


class CommandError(ValueError):
    """A command that can't be started; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be started: one command, shell lines before it, and variables beside the launcher's own."""

    text: str
    preamble: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def argument_list(command: Command, environment: Mapping[str, str]) -> list[str]:
    """The argument list; `environment` is the whole one that the command will have.

    A command that only a shell understands goes to the shell; a preamble that fails keeps the command from
    being run. Raises CommandError for one that is empty or that nobody could find.
    """
    if not command.text.strip():
        raise CommandError("the command is empty")
    if command.preamble:
        return shell(" &&\n".join([*(line.rstrip("; \n") for line in command.preamble), command.text]))
    words = _plain_words(command.text)
    if words is None:
        return shell(command.text)
    if "/" not in words[0] and shutil.which(words[0], path=environment.get("PATH")) is None:
        if f"BASH_FUNC_{words[0]}%%" in environment:
            return shell(command.text)
        raise CommandError(f"there is no program {words[0]!r} on the PATH")
    return words


def shell(text: str) -> list[str]:
    """The shell that runs a text as one command."""
    return [_SHELL, "-c", text]


def _plain_words(text: str) -> list[str] | None:
    """The words of a command that means the same without a shell, else None."""
    if _NEEDS_SHELL.search(text):
        return None
    try:
        words = text.split() if _BARE.fullmatch(text) else shlex.split(text)
    except ValueError:
        return None  # an open quote: let the shell say so in job.out
    if not words or words[0] in _SHELL_WORDS or "=" in words[0]:
        return None
    return words
