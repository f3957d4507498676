"""From a rendered command to the argument list that is started; without a shell where none is needed.

A command is the text of a bash script; a preamble is run before it in the same shell, as if it were sourced.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from balsam.sdk import shell_text

_NEEDS_SHELL = re.compile(r"[|&;<>()$`\\*?\[\]#~!{}\n\r]")
_BARE = re.compile(r"[\w./:,+@%= -]+", re.ASCII)  # no quotes, and spaces alone between words
_KEYWORDS = frozenset(
    "if then else elif fi for while until do done case esac select function time coproc [[".split()  # noqa: SIM905
)
_SHELL_WORDS = _KEYWORDS | frozenset(
    """
    in . :
    alias bg bind break builtin caller cd command compgen complete continue declare dirs disown
    enable eval exec exit export fc fg getopts hash help history jobs let local logout mapfile popd
    pushd read readarray readonly return set shift shopt source suspend times trap type typeset
    ulimit umask unalias unset wait
    """.split()  # noqa: SIM905 - a list of these in quotes is hard to read
)
STRICT = "-euo pipefail"
MAX_ARGUMENT_BYTES = (1 << 17) - 1  # of one argument or variable, in Linux

# Around a preamble. What it is told of `exit` reaches nobody else; a trap of the user's own is left alone.
_ENDED = "balsam: the shell preamble ended the shell with exit code"
_LEFT = f"""trap 'printf "{_ENDED} %d, before the command was run\\n" "$?" >&2' EXIT; """
_STAYED = f'case "$(trap -p EXIT)" in *"{_ENDED}"*) trap - EXIT;; esac; '
# A preamble that ends at the first command that fails. What functions, and scripts that it reads, do inside
# is their own business.
_FAILED = "balsam: the shell preamble failed with exit code"
_WATCH = (
    f"""trap 'balsam_code=$?; if [ "${{#BASH_SOURCE[@]}}" -eq 1 ]; then trap - EXIT; """
    f"""printf "{_FAILED} %d: %s\\n" "$balsam_code" "$BASH_COMMAND" >&2; exit "$balsam_code"; fi' ERR; """
)
_UNWATCH = f'case "$(trap -p ERR)" in *"{_FAILED}"*) trap - ERR;; esac; '


class CommandError(ValueError):
    """A command that can't be started; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be started: a script, what is run before it, and variables beside the launcher's own.

    A preamble that is a text is one script whose last status counts; one of lines is one script that ends at
    the first command that fails. `strict`: all of that ends at the first command that fails.
    """

    text: str
    preamble: str | Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False


def argument_list(command: Command, environment: Mapping[str, str]) -> list[str]:
    """The argument list; `environment` is the whole one that the command will have.

    A command that only a shell understands goes to the shell; a preamble that fails keeps the command from
    being run. Raises CommandError for one that is empty, that nobody could find or that no system starts.
    """
    if shell_text.is_empty(command.text):
        raise CommandError("the command is empty")
    words = _words(command, environment)
    check_startable(words, environment)
    return words


def _words(command: Command, environment: Mapping[str, str]) -> list[str]:
    if _lines(command.preamble):
        return shell(_after_preamble(command))
    words = _plain_words(command.text)
    if words is None:
        return shell(command.text, strict=command.strict)
    if "/" not in words[0] and shutil.which(words[0], path=environment.get("PATH")) is None:
        if f"BASH_FUNC_{words[0]}%%" in environment:
            return shell(command.text, strict=command.strict)
        raise CommandError(f"there is no program {words[0]!r} on the PATH")
    return words


def _lines(preamble: str | Sequence[str]) -> str:
    text = preamble if isinstance(preamble, str) else "\n".join(preamble)
    return "" if shell_text.is_empty(text) else text


def _after_preamble(command: Command) -> str:
    """One line of our own, so that whatever bash says of the command counts the command's own lines."""
    text = _lines(command.preamble)
    watched = command.strict or not isinstance(command.preamble, str)
    told = shlex.quote(f"{_FAILED} %d{_last_line(text)}\\n")
    return "".join(
        [
            "set -o pipefail; " if command.strict else "",
            _LEFT,
            _WATCH if watched else "",
            f"source <(printf %s {_quoted(text)}); ",
            "balsam_code=$?; ",
            _UNWATCH if watched else "",
            _STAYED,
            f'[ "$balsam_code" -eq 0 ] || {{ printf {told} "$balsam_code" >&2; exit "$balsam_code"; }}; ',
            "unset balsam_code; ",
            f"set {STRICT}; " if command.strict else "",
            f"eval {_quoted(command.text)}",
        ]
    )


def _quoted(text: str) -> str:
    """One word on one line, as bash reads it."""
    return "$'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def _last_line(text: str) -> str:
    """Which line's status is that of the whole text, where that can be said by reading it."""
    lines = text.rstrip().splitlines()
    last = lines[-1].strip()
    number = len(lines)
    whole = "return" not in text and not re.search(r"[)}\"'\\]$|^(fi|done|esac|EOF|#)", last)
    goes_on = number > 1 and lines[-2].rstrip().endswith(("\\", "|", "&&", "||", "("))
    if not whole or goes_on or "<<" in text:
        return ""
    return f" at its line {number}: {last[:200]}".replace("%", "%%").replace("\\", "\\\\")


def check_startable(words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Raises CommandError for what no system can start a program with."""
    # Nearly all that is started is plain, and all of it together is looked at much faster than one by one.
    names = "".join(environment)
    whole = names + "".join(environment.values()) + "".join(words)
    is_short = len(whole) < MAX_ARGUMENT_BYTES - 1  # and so are each of a variable's name, "=" and value
    if is_short and whole.isascii() and "\0" not in whole and "=" not in names and "" not in environment:
        return
    for word in words:
        _check_text(word, "the command")
    for name, text in environment.items():
        if not name or "=" in name or "\0" in name:
            raise CommandError(
                f"a variable of its environment is called {name!r}: a name has a character, and no '='"
            )
        _check_text(f"{name}={text}", f"the environment variable {name!r}")


def _check_text(text: str, told: str) -> None:
    if len(text) < 1000 and text.isprintable():  # most are, and that is told at once
        return
    if "\0" in text:
        raise CommandError(f"{told} holds a NUL character, which no program can be given")
    try:
        size = len(os.fsencode(text))
    except UnicodeEncodeError:
        raise CommandError(f"{told} holds half of a character (a lone surrogate): it is no text") from None
    if size > MAX_ARGUMENT_BYTES:
        raise CommandError(
            f"{told} takes {size:,} bytes, and a program can be given {MAX_ARGUMENT_BYTES:,} at most: "
            f"put long values into a file and give its path"
        )


def why_not(program: str, workdir: str, exc: OSError) -> str:
    """Why a program could not be started; a script that is there may lack what is to run it."""
    if exc.errno == errno.E2BIG:
        return (
            "its arguments and environment are too long together: put long values into a file "
            "and give its path"
        )
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


def shell(text: str, *, strict: bool = False) -> list[str]:
    """The shell that runs a text as one script; raises CommandError where there is none."""
    return [_shell(), *(STRICT.split() if strict else ()), "-c", text]


@cache
def _shell() -> str:
    found = next(
        (path for path in ("/bin/bash", "/usr/bin/bash") if Path(path).exists()), shutil.which("bash")
    )
    if found is None:
        raise CommandError("there is no bash on this node, which runs all but the simplest commands")
    return found


def under_launcher(line: str, text: str) -> str:
    """A script whose first command is started by an MPI launcher's line; raises CommandError.

    The line binds as any program's name in front of the command would: what follows `&&`, `;`, `|` or a line
    break runs once and without it, and a redirection takes the output of all ranks.
    """
    if not line:
        return text
    place = shell_text.first_command(text)
    first = re.match(r"\(|\{(?=\s)|[\w\[]+(?=\s|$)", text[place:])
    if first is not None and first[0] in {*_KEYWORDS, "(", "{"}:
        raise CommandError(
            f"the command begins with {first[0]!r}: in mpi mode the MPI launcher stands before the first "
            f"command, which has to be a program; put what comes before it into shell_preamble()"
        )
    return f"{text[:place]}{line} {text[place:]}"


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
