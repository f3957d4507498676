"""From a rendered command to the argument list that is started; without a shell where none is needed."""

from __future__ import annotations

import errno
import os
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


# After each entry of a preamble, and in bash also between the lines of one. What happens inside of a script
# that the preamble reads is that script's own business.
_CHECK = """\
balsam_check() {
    [ "$1" -eq 0 ] && return
    echo "balsam: the shell preamble failed with exit code $1: $2" >&2
    exit "$1"
}
"""
_TRAP = """\
trap 'balsam_code=$?; [ ${#BASH_SOURCE[@]} -gt 0 ] || balsam_check $balsam_code "$BASH_COMMAND"' ERR
"""


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
        return shell(_after_preamble(command))
    words = _plain_words(command.text)
    if words is None:
        return shell(command.text)
    if "/" not in words[0] and shutil.which(words[0], path=environment.get("PATH")) is None:
        if f"BASH_FUNC_{words[0]}%%" in environment:
            return shell(command.text)
        raise CommandError(f"there is no program {words[0]!r} on the PATH")
    return words


def _after_preamble(command: Command) -> str:
    is_bash = _SHELL.endswith("bash")
    lines = [f"{line}\nbalsam_check $? {shlex.quote(line.strip())}\n" for line in command.preamble]
    begin, end = (_TRAP, "trap - ERR\n") if is_bash else ("", "")
    return "".join([_CHECK, begin, *lines, end, "unset -f balsam_check\n", command.text])


def why_not(program: str, workdir: str, exc: OSError) -> str:
    """Why a program could not be started; a script that is there may lack what is to run it."""
    if exc.errno == errno.ENOENT:
        try:
            with Path(workdir, program).open("rb") as file:
                first = file.readline(256)
        except OSError:
            return os.strerror(errno.ENOENT)
        if first.startswith(b"#!") and (words := first[2:].split()):
            name = words[0].decode("utf-8", "replace")
            return f"its first line wants the interpreter {name!r}, which does not exist"
    return exc.strerror or str(exc)


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
