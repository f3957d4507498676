"""The `balsam` command: finds the subcommand, and turns what goes wrong into one sentence."""

import os
import sys
import traceback

import click

from balsam.cli import streams
from balsam.cli.lazy_group import LazyCommand, LazyGroup

COMMANDS = {
    "login": LazyCommand("balsam.cli.users", "login", "Log in to a server."),
    "register": LazyCommand("balsam.cli.users", "register", "Make a user on a server and log in."),
    "logout": LazyCommand("balsam.cli.users", "logout", "End a login, or list yours."),
    "server": LazyCommand("balsam.cli.server", "server", "Servers: one of your own, or one for many users."),
    "site": LazyCommand("balsam.cli.sites", "site", "Folders where jobs run, and their agents."),
    "app": LazyCommand("balsam.cli.apps", "app", "Applications known to the server."),
    "job": LazyCommand("balsam.cli.jobs", "job", "Create, list, change and explain jobs."),
    "queue": LazyCommand("balsam.cli.batch_jobs", "queue", "Ask a machine's batch queue for nodes."),
    "transfer": LazyCommand("balsam.cli.transfers", "transfer", "Files that are staged in and out."),
    "top": LazyCommand("balsam.cli.top", "top", "Follow sites, allocations and jobs on the whole screen."),
    "completion": LazyCommand("balsam.cli.completion", "completion", "Let a shell complete commands."),
    "event": LazyCommand("balsam.cli.events", "event", "What happened to jobs, and when."),
    "report": LazyCommand(
        "balsam.cli.report", "report", "What a campaign came to: text, page, figure, data."
    ),
    "alert": LazyCommand("balsam.cli.alerts", "alert", "Be told when jobs fail or a site is down."),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["--help"], "max_content_width": 110},
    epilog="Set BALSAM_CLI_TRACEBACK=1 to see where an error comes from.",
)
@click.version_option(package_name="balsam")
def cli() -> None:
    """Define applications, queue jobs, get nodes for them, and see what happened."""


def main() -> None:
    """Runs the command line; ends with status 0, 1 (the command failed) or 2 (it was called wrongly)."""
    streams.mend()
    status = run(sys.argv[1:], show_traceback=bool(os.environ.get("BALSAM_CLI_TRACEBACK")))
    streams.give_up_output()
    sys.exit(status)


def run(arguments: list[str], show_traceback: bool) -> int:
    """Runs one command; errors become one sentence on stderr."""
    try:
        return _run(arguments, show_traceback)
    except OSError:  # whoever was to read of the error has gone, or nothing takes it: a full device
        return 1


def _run(arguments: list[str], show_traceback: bool) -> int:
    try:
        status = cli.main(arguments, prog_name="balsam", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        return 130
    except BrokenPipeError:
        # The reader has gone (`balsam job ls | head`): nothing is wrong, and nothing more can be said.
        streams.give_up_output()
        return 0
    except Exception as exc:
        from balsam.cli.errors import sentence_of  # what it maps must not be imported for --help
        from balsam.cli.printable import printable

        if show_traceback:
            traceback.print_exc()
        click.echo(printable(f"Error: {sentence_of(exc)}"), err=True)
        return 1


if __name__ == "__main__":
    main()
