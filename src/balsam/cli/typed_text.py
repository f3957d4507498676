"""Words of the command line as what was typed, also where the locale has no letters for them."""

from __future__ import annotations

import click


class TypedText(click.ParamType[str]):
    """Text; what is no UTF-8 is refused, for no server could hold it. Names of files stay as they are."""

    name = "text"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return typed(str(value))
        except UnicodeError:
            self.fail(f"{str(value)!r} holds bytes that are no UTF-8", param, ctx)


def typed(word: str) -> str:
    """The text of a word whose bytes the locale (C, without Python's UTF-8 mode) could not read.

    Raises UnicodeError where the bytes are no UTF-8.
    """
    return word if word.isascii() else word.encode("utf-8", "surrogateescape").decode("utf-8")


def take_typed_text(command: click.Command) -> None:
    """Lets a command, and those below it, read their options and arguments of plain text so."""
    for parameter in command.params:
        if parameter.type is click.STRING:
            parameter.type = TypedText()
    if isinstance(command, click.Group):
        for below in command.commands.values():
            take_typed_text(below)
