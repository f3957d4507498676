"""How long the command line waits for a server that does not answer."""

from __future__ import annotations

import click

from balsam.client.login import load_login, login_path
from balsam.sdk.context import use_client

RETRY_SEC = 4.0  # somebody sits there and waits


def connect(context: click.Context) -> None:
    """Until the command ends, requests with the user's login give up early."""
    login = load_login()
    if login is not None:
        client = login.client(login_path(), retry_sec=RETRY_SEC)
        context.with_resource(use_client(client))
        context.call_on_close(client.close)
