"""How long the command line waits for a server that does not answer."""

from __future__ import annotations

import click

from balsam.client.login import load_login
from balsam.client.transport import Client
from balsam.sdk.context import use_client

RETRY_SEC = 4.0  # somebody sits there and waits


def connect(context: click.Context) -> None:
    """Until the command ends, requests with the user's login give up early."""
    login = load_login()
    if login is not None:
        client = Client(
            login.api_root,
            login.token,
            ca_file=login.ca_file,
            connect_timeout=login.connect_timeout,
            read_timeout=login.read_timeout,
            retry_sec=RETRY_SEC,
        )
        context.with_resource(use_client(client))
        context.call_on_close(client.close)
