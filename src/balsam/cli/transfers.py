"""`balsam transfer`: files that are staged in and out."""

from __future__ import annotations

import click

from balsam.api import TransferItem
from balsam.cli.connection import connect
from balsam.cli.job_choice import no_jobs, unknown_ids
from balsam.cli.listing import Listing, View, listing_options
from balsam.cli.options import ids_of, member, site_option, tags_of, words_of
from balsam.cli.site_selector import selected_sites
from balsam.core.states import TransferDirection, TransferItemState

DEFAULT_LIMIT = 1000
TRANSFERS = Listing(
    columns=(
        *("id", "job_id", "direction", "local_path", "location_alias", "remote_path", "recursive", "state"),
        *("task_id", "transfer_info"),
    ),
    shown=("id", "job_id", "direction", "local_path", "location_alias", "remote_path", "state"),
    titles={"id": "ID", "job_id": "Job", "location_alias": "Location"},
)


@click.group()
@click.pass_context
def transfer(context: click.Context) -> None:
    """Files that are staged in and out."""
    connect(context)


@transfer.command()
@click.option("-j", "--job-id", "jobs", multiple=True, metavar="ID[,ID...]", help="Of these jobs.")
@click.option("-s", "--state", metavar="STATE[,STATE...]", help=f"One of {', '.join(TransferItemState)}.")
@click.option("--direction", help=f"One of {', '.join(TransferDirection)}.")
@click.option("-t", "--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Of jobs with this tag.")
@listing_options(TRANSFERS, limit=DEFAULT_LIMIT)
@site_option()
def ls(
    view: View,
    jobs: tuple[str, ...],
    state: str | None,
    direction: str | None,
    tags: tuple[str, ...],
    site_selector: str,
) -> None:
    """List files that are to be staged, are on their way or have arrived."""
    states = words_of([] if state is None else [state], "--state")
    filters = {
        "job_id": ids_of(jobs, "--job-id"),
        "state": [member(TransferItemState, one, "--state") for one in states],
        "direction": None if direction is None else member(TransferDirection, direction, "--direction"),
        "tags": tags_of(tags, "--tag"),
    }
    query = TransferItem.objects.all().narrowed({name: one for name, one in filters.items() if one})
    sites = selected_sites(site_selector)
    # One at a time, as the server takes them.
    parts = [query] if sites is None else [query.narrowed({"site_id": site}) for site in sites]
    items = [item for part in parts for item in part]
    view.show_first(one.display_dict() for one in items)
    if not items and (missing := unknown_ids(ids_of(jobs, "--job-id"))):
        raise no_jobs(missing)
