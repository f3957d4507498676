"""`balsam top`: follow sites, allocations and jobs on the whole screen of a terminal."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import click

from balsam.cli.connection import connect
from balsam.sdk.context import default_client

MISSING = "balsam top needs the package textual: pip install 'balsam[top]'"


@click.command()
@click.option(
    "--every",
    type=click.FloatRange(min=0.5),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Look at most so often; less where the server takes long to answer.",
)
@click.pass_context
def top(context: click.Context, every: float) -> None:
    """Follow sites, allocations and jobs on the whole screen.

    Enter goes from a site, an allocation or a cause of failures to its jobs, and from a job to what is known
    of it; Escape goes back. The last line names the keys: to filter, to see output, to kill and retry
    (after a question), to quit.
    """
    if find_spec("textual") is None:
        raise click.ClickException(MISSING)
    if not sys.stdout.isatty():
        raise click.ClickException(
            "balsam top needs a terminal; for programs there are balsam job ls --by-site --json and the like"
        )
    connect(context)
    from balsam.cli.live.app import TopApp  # here: textual takes longer to load than most commands to run

    app = TopApp(default_client(), every)
    app.run()
    context.exit(app.return_code or 0)
