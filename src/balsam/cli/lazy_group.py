"""A group whose commands are imported when they are used, so that `--help` is answered at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from balsam.cli.typed_text import take_typed_text


@dataclass(frozen=True)
class LazyCommand:
    """Where a command is defined, and the line of help that is shown without importing it."""

    module: str
    attribute: str
    help: str


class LazyGroup(click.Group):
    """Its own commands first, then the lazy ones."""

    def __init__(self, *args: Any, lazy: Mapping[str, LazyCommand], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands, *self.lazy]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.lazy.get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        command = getattr(import_module(entry.module), entry.attribute)
        assert isinstance(command, click.Command)
        take_typed_text(command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names with their lines of help, and the group's own options; nothing is imported for them."""
        helps = {name: command.get_short_help_str() for name, command in self.commands.items()}
        helps |= {name: entry.help for name, entry in self.lazy.items()}
        named = [
            CompletionItem(name, help=text) for name, text in helps.items() if name.startswith(incomplete)
        ]
        return named + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            own = [(name, command.get_short_help_str(80)) for name, command in self.commands.items()]
            formatter.write_dl(own + [(name, entry.help) for name, entry in self.lazy.items()])
