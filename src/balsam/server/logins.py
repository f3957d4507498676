"""Logins as programs make them: by password, by waiting for a browser, and by renewing."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from balsam.core.clock import naive_text, now_us
from balsam.core.errors import Forbidden, Invalid, NotFound
from balsam.core.limits import LOGIN_POLL_SEC, LOGIN_REQUEST_TTL_SEC, MAX_ID
from balsam.core.logins import RENEWABLE, LoginMethod
from balsam.logic import login_requests, logins
from balsam.logic.logins import Lifetimes, Tokens
from balsam.schemas.types import Text
from balsam.schemas.users import BrowserLoginOut, DeviceLoginOut, EntryCodeOut, LoginOut, RecordedLogin
from balsam.server.answers import json_answer, no_content
from balsam.server.context import Server, Srv, User, bearer, client_address, in_turn, public_url
from balsam.server.entry_codes import ENTRY_CODE_SEC
from balsam.store import logins as login_store
from balsam.store import users as user_store

router = APIRouter(prefix="/auth", tags=["users"])
LoginId = Annotated[int, Path(ge=0, le=MAX_ID)]
FormText = Annotated[Text, Form()]

# A published client asks again at once, whatever it is answered: each "no" takes that long, on no thread.
NOT_YET_SEC = 1.0


def _offered(method: LoginMethod) -> Any:
    def check(server: Srv) -> None:
        if method not in server.settings.offered_methods:
            offered = ", ".join(server.settings.offered_methods)
            raise Forbidden(f"this server does not offer {method}; it offers {offered}")

    return Depends(check)


@router.get("/how")
def how(server: Srv) -> list[str]:
    """How to log in here."""
    return [method.wire for method in server.settings.offered_methods]


@router.post(
    "/password/login",
    response_model=LoginOut,
    response_model_exclude_none=True,
    dependencies=[_offered(LoginMethod.PASSWORD)],
)
async def log_in(
    request: Request, server: Srv, username: FormText, password: FormText, scope: FormText = ""
) -> dict[str, Any]:
    """A token for 48 h; with `scope=offline_access` one for 15 min and a refresh token."""
    who = (username, password, client_address(request))
    tokens = await in_turn(
        server, logins.log_in, server.db, *who, lifetimes(server), renewable=_is_renewable(scope)
    )
    return _answer(tokens)


@router.post("/refresh", response_model=LoginOut, response_model_exclude_none=True)
def refresh(server: Srv, refresh_token: FormText) -> dict[str, Any]:
    """New tokens for a refresh token, which from then on serves for one more minute."""
    return _answer(logins.renew(server.db, refresh_token, lifetimes(server)))


@router.post("/device/login", response_model=DeviceLoginOut, dependencies=[_offered(LoginMethod.DEVICE)])
def begin_device_login(request: Request, server: Srv, scope: FormText = "") -> dict[str, Any]:
    """A code for a person to type into a page, and one for the program to ask with."""
    codes = _codes(request, server, "device", scope)
    page = f"{public_url(request)}/auth/oauth/{server.settings.oauth_name}/login/device"
    return {
        "device_code": codes.device,
        "user_code": codes.user,
        "verification_uri": page,
        "verification_uri_complete": f"{page}?user_code={codes.user}",
        "expires_in": LOGIN_REQUEST_TTL_SEC,
        "interval": LOGIN_POLL_SEC,
    }


@router.post("/browser/login", response_model=BrowserLoginOut, dependencies=[_offered(LoginMethod.BROWSER)])
def begin_browser_login(request: Request, server: Srv, scope: FormText = "") -> dict[str, Any]:
    """An address for the user's browser, and a code for the program to ask with."""
    codes = _codes(request, server, "browser", scope)
    page = f"{public_url(request)}/auth/oauth/{server.settings.oauth_name}/login"
    return {
        "device_code": codes.device,
        "user_code": codes.user,
        "address": f"{page}?user_code={codes.user}",
        "expires_in": LOGIN_REQUEST_TTL_SEC,
        "interval": LOGIN_POLL_SEC,
    }


@router.post("/device/token", response_model=LoginOut, response_model_exclude_none=True)
async def collect(server: Srv, device_code: FormText) -> dict[str, Any]:
    """The tokens of a login by device code or browser, once its user has allowed it."""
    try:
        tokens = await run_in_threadpool(login_requests.collect, server.db, device_code, lifetimes(server))
    except Invalid:
        await asyncio.sleep(NOT_YET_SEC)
        raise
    return _answer(tokens)


@router.post("/entry-code", response_model=EntryCodeOut)
def make_entry_code(request: Request, server: Srv, user: User) -> dict[str, Any]:
    """A code that lets one browser in as the owner of an embedded server, who has no password."""
    with server.db.glance() as conn:
        name = user_store.get(conn, user)["username"]
    if name != server.settings.owner:
        raise Forbidden(
            f"log in at {public_url(request)}/ui/login: only the owner of a server of one needs a code"
        )
    return {"code": server.entry_codes.make(user), "expires_in": ENTRY_CODE_SEC}


@router.get("/logins", response_model=list[RecordedLogin])
def list_logins(request: Request, server: Srv, user: User) -> Response:
    """The user's logins that are open."""
    current = logins.login_of(server.db, bearer(request))
    with server.db.glance() as conn:
        rows = login_store.open_logins(conn, user)
    return json_answer([_recorded(row, current) for row in rows])


@router.delete("/logins/current", status_code=204)
def log_out(request: Request, server: Srv, user: User) -> Response:
    """Ends the login that the request's token came from; nothing for a token that came from none."""
    current = logins.login_of(server.db, bearer(request))
    if current is not None:
        logins.end(server.db, user, current)
    return no_content()


@router.delete("/logins/{login_id}", status_code=204)
def end_login(server: Srv, user: User, login_id: LoginId) -> Response:
    if not logins.end(server.db, user, login_id):
        raise NotFound("Not found")
    return no_content()


def _codes(request: Request, server: Server, method: str, scope: str) -> login_requests.Codes:
    address = client_address(request)
    return login_requests.start(server.db, method, address, renewable=_is_renewable(scope))


def _is_renewable(scope: str) -> bool:
    return RENEWABLE in scope.split()


def lifetimes(server: Server) -> Lifetimes:
    """How long what a login gives lasts here."""
    settings = server.settings
    return Lifetimes(settings.token_ttl_sec, settings.short_token_ttl_sec, settings.login_ttl_sec)


def _answer(tokens: Tokens) -> dict[str, Any]:
    answer = {
        "access_token": tokens.access,
        "token_type": "bearer",
        "expiration": naive_text(tokens.expires),
    }
    if tokens.refresh is None:
        return answer
    # Seconds, too: whose clock is wrong would take the token for expired.
    return {
        **answer,
        "expires_in": max(0.0, (tokens.expires - now_us()) / 1e6),
        "refresh_token": tokens.refresh,
    }


def _recorded(row: dict[str, Any], current: int | None) -> dict[str, Any]:
    times = {name: naive_text(row[name]) for name in ("created", "used", "expires")}
    return {"id": row["id"], "method": row["method"], **times, "current": row["id"] == current}
