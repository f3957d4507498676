"""`balsam completion`: what teaches a shell to complete `balsam` commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_BALSAM_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that makes SHELL complete commands, options, states, sites and apps.

    \b
    bash (4.4 or later), in ~/.bashrc:      eval "$(balsam completion bash)"
    zsh, in ~/.zshrc after compinit:        eval "$(balsam completion zsh)"
    fish, once:  balsam completion fish > ~/.config/fish/completions/balsam.fish
    """
    made = get_completion_class(shell)
    assert made is not None, f"click completes {shell}"
    click.echo(made(context.find_root().command, {}, "balsam", VARIABLE).source())
