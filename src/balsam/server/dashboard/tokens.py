"""Who may act for the visitor: open logins, and the tokens of sites."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from balsam.core.errors import NotFound
from balsam.core.limits import MAX_ID
from balsam.logic import logins
from balsam.logic.users import digest_of
from balsam.server.context import Srv
from balsam.server.dashboard import pages, visitors
from balsam.server.dashboard.pages import Look, PageRoute
from balsam.server.dashboard.visitors import Acting, Looking
from balsam.store import logins as login_store
from balsam.store import names, users

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Id = Annotated[int, Path(ge=0, le=MAX_ID)]


@router.get("/ui/tokens")
def token_list(request: Request, server: Srv, visitor: Looking) -> Response:
    return pages.show(request, server, visitor, "tokens", {"table": table})


def table(look: Look) -> dict[str, Any]:
    own = users.find_token(look.conn, digest_of(look.visitor.token))
    return {
        "logins": login_store.open_logins(look.conn, look.owner),
        "current": own["login_id"] if own else None,
        "site_tokens": users.site_tokens(look.conn, look.owner),
        "site_names": names.of_sites(look.conn, look.owner),
    }


@router.post("/ui/tokens/logins/{login_id}/end")
def end_login(request: Request, server: Srv, visitor: Acting, login_id: Id) -> Response:
    current = logins.login_of(server.db, visitor.token)
    if not logins.end(server.db, visitor.owner, login_id):
        raise NotFound("Not found")
    if login_id != current:
        return pages.go_to(request, "/tokens")
    response = pages.go_to(request, "/login")
    visitors.end(request, response)
    return response


@router.post("/ui/tokens/sites/{token_id}/revoke")
def revoke(request: Request, server: Srv, visitor: Acting, token_id: Id) -> Response:
    with server.db.write() as tx:
        if not users.revoke_token(tx.conn, visitor.owner, token_id):
            raise NotFound("Not found")
        tx.changed(visitor.owner.user_id, "tokens", 0)
    return pages.go_to(request, "/tokens")
