"""How long the command line waits for a server that does not answer."""

from __future__ import annotations

import click

from balsam.client.errors import NotLoggedIn
from balsam.sdk.context import stored_login, use_client

RETRY_SEC = 4.0  # somebody sits there and waits


def connect(context: click.Context) -> None:
    """Until the command ends, requests give up early."""
    try:
        login, path = stored_login()
    except (NotLoggedIn, FileNotFoundError):  # or a working directory that was removed
        return  # not every command needs one
    client = login.client(path, retry_sec=RETRY_SEC)
    context.with_resource(use_client(client))
    context.call_on_close(client.close)
