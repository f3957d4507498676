"""The server process: `python -m balsam.server.main --data DIR --port PORT`."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from dataclasses import replace
from pathlib import Path

import uvicorn
import yaml
from fastapi import FastAPI
from sqlalchemy import Connection

from balsam.core.errors import BalsamError, Unauthorized
from balsam.logic import users
from balsam.server import garbage, logs, serving_lock
from balsam.server.app import build
from balsam.server.context import Server
from balsam.server.serving import QuietServer
from balsam.server.settings import DATABASE, ServerSettings
from balsam.store import users as user_store
from balsam.store.owner import Owner


def main() -> None:
    args = _arguments()
    os.umask(0o077)
    settings = ServerSettings.embedded(args.data, getpass.getuser(), accounts=args.accounts)
    if args.lease_sec:
        settings = replace(settings, lease_sec=args.lease_sec)
    logs.configure(settings)
    try:
        serving_lock.take(args.data / DATABASE)
    except BalsamError as exc:
        sys.exit(f"Error: {exc}")
    app = build(settings)
    server: Server = app.state.server
    log_in_owner(server, args.data / "client.yml", f"http://127.0.0.1:{args.port}")
    garbage.collect_rarely()
    run(app, args.port)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="balsam.server.main", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the database and its log")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--accounts", action="store_true", help="let other users register")
    parser.add_argument("--lease-sec", type=float, help="seconds without a heartbeat that end a session")
    return parser.parse_args()


def run(app: FastAPI, port: int) -> None:
    """Serves on loopback until a signal ends it."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        access_log=False,
        log_config=None,
        proxy_headers=False,
        timeout_graceful_shutdown=3,
    )
    QuietServer(config).run()


def log_in_owner(server: Server, path: Path, url: str) -> None:
    """Keeps a login for the embedded server's owner in a file that only the owner reads."""
    name = server.settings.owner
    assert name is not None
    known = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    with server.db.write() as tx:
        row = user_store.by_name(tx.conn, name)
        owner = Owner(row["id"] if row else user_store.create(tx.conn, name, None))
        if not _is_valid(tx.conn, known.get("token"), owner):
            known["token"] = users.login_token(tx, owner, None).text
    known |= {"api_root": url, "token_expiry": None}
    temporary = path.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_text(yaml.safe_dump(known), encoding="utf-8")
    temporary.replace(path)


def _is_valid(conn: Connection, token: str | None, owner: Owner) -> bool:
    try:
        return token is not None and users.whose(conn, token)[0] == owner
    except Unauthorized:
        return False


if __name__ == "__main__":
    main()
