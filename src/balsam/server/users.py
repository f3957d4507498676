"""Users, and the tokens of their sites."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from balsam.core.clock import naive_text
from balsam.core.errors import Forbidden, NotFound
from balsam.core.limits import MAX_ID
from balsam.core.logins import LoginMethod
from balsam.logic import attempts, users
from balsam.schemas.users import SiteTokenCreate, SiteTokenOut, UserCreate, UserOut
from balsam.server.answers import json_answer, no_content
from balsam.server.context import Caller, Srv, User, client_address, in_turn
from balsam.store import users as user_store

router = APIRouter(prefix="/auth", tags=["users"])
TokenId = Annotated[int, Path(ge=0, le=MAX_ID)]


@router.post("/password/register", status_code=201, response_model=UserOut)
async def register(request: Request, server: Srv, body: UserCreate) -> dict[str, Any]:
    settings = server.settings
    if not settings.registration and settings.owner is not None:
        raise Forbidden(f"this server serves {settings.owner} only: nobody else can register")
    if not settings.registration or LoginMethod.PASSWORD not in settings.offered_methods:
        raise Forbidden(
            "nobody can register here with a password: run `balsam login`, or ask those who run it"
        )
    address = client_address(request)
    limit = replace(
        attempts.OF_REGISTRATIONS,
        burst=settings.registration_burst,
        every_sec=settings.registration_every_sec,
    )
    return await in_turn(server, users.register, server.db, body.username, body.password, address, limit)


@router.get("/password/me", response_model=UserOut)
def me(server: Srv, caller: Caller) -> dict[str, Any]:
    with server.db.glance() as conn:
        return user_store.get(conn, caller)


@router.post("/site-tokens", status_code=201, response_model=SiteTokenOut)
def create_site_token(server: Srv, user: User, body: SiteTokenCreate) -> dict[str, Any]:
    """A token for one site's agent and launchers; it is shown only this once."""
    with server.db.write() as tx:
        token_id, text = users.site_token(tx, user, body.site_id)
    return {"id": token_id, "site_id": body.site_id, "token": text}


@router.get("/site-tokens")
def list_site_tokens(server: Srv, user: User) -> Response:
    with server.db.glance() as conn:
        rows = user_store.site_tokens(conn, user)
    return json_answer(
        [
            {
                "id": row["id"],
                "site_id": row["site_id"],
                "created": naive_text(row["created"]),
                "revoked": naive_text(row["revoked"]),
            }
            for row in rows
        ]
    )


@router.delete("/site-tokens/{token_id}", status_code=204)
def revoke_site_token(server: Srv, user: User, token_id: TokenId) -> Response:
    with server.db.write() as tx:
        if not user_store.revoke_token(tx.conn, user, token_id):
            raise NotFound("Not found")
        tx.changed(user.user_id, "tokens", 0)
    return no_content()
