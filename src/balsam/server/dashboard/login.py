"""Logging a browser in and out: by password, at a login provider, or with a code of `balsam server open`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from balsam.core.errors import Forbidden, NotFound, Unauthorized
from balsam.core.logins import LoginMethod
from balsam.logic import attempts, login_requests, logins
from balsam.logic.attempts import Attempt
from balsam.logic.logins import Tokens
from balsam.server.context import Server, Srv, client_address, in_turn
from balsam.server.dashboard import pages, visitors
from balsam.server.dashboard.pages import PageRoute
from balsam.server.dashboard.visitors import FOLDER, FOREIGN, Acting, Form, root
from balsam.server.login_pages import DASHBOARD_COOKIE
from balsam.server.logins import lifetimes
from balsam.server.provider_logins import depart

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/ui/login")
async def ask(request: Request, server: Srv) -> Response:
    return _ask(request, server, request.query_params.get("then", ""))


def _ask(
    request: Request, server: Server, then: str, *, status: int = 200, fault: str = "", name: str = ""
) -> Response:
    ways = server.settings.offered_methods
    return pages.render(
        request,
        "login.html",
        status=status,
        fault=fault,
        name=name,
        then=_then(then),
        by_password=LoginMethod.PASSWORD in ways
        and (server.settings.registration or not server.settings.owner),
        by_provider=server.provider is not None,
        by_code=server.settings.owner is not None,
    )


@router.post("/ui/login")
async def log_in(request: Request, server: Srv, form: Form) -> Response:
    """By name and password, as `balsam login --username`."""
    if not visitors.is_own(request):
        raise Forbidden(FOREIGN)
    if LoginMethod.PASSWORD not in server.settings.offered_methods:
        raise Forbidden("this server has no passwords")
    name, password = str(form.get("username", "")), str(form.get("password", ""))
    then = str(form.get("then", ""))
    who = (name, password, client_address(request))
    try:
        tokens = await in_turn(server, logins.log_in, server.db, *who, lifetimes(server), renewable=False)
    except Unauthorized:
        fault = "No user of this server has this name and this password."
        return _ask(request, server, then, status=401, fault=fault, name=name)
    return _enter(request, server, tokens, _then(then))


@router.get("/ui/login/provider")
async def to_provider(request: Request, server: Srv) -> Response:
    """To the login provider; this browser, and no other, is logged in when it comes back."""
    if server.provider is None:
        raise NotFound("this server has no login provider")
    return await in_turn(server, depart, request, server)


@router.get("/ui/login/provided")
async def provided(request: Request, server: Srv) -> Response:
    """Back from the login provider."""
    device_code = request.cookies.get(DASHBOARD_COOKIE, "")
    tokens = await run_in_threadpool(login_requests.collect, server.db, device_code, lifetimes(server))
    response = _enter(request, server, tokens, f"{FOLDER}/")
    response.delete_cookie(DASHBOARD_COOKIE, path=f"{root(request)}/")
    return response


@router.post("/ui/enter")
async def enter(request: Request, server: Srv, form: Form) -> Response:
    """With a code that the owner of an embedded server got by `balsam server open`."""
    then = str(form.get("then", ""))
    tokens = await run_in_threadpool(_take, request, server, str(form.get("code", "")))
    if tokens is None:
        fault = "This code is none, or has been used, or is too old: run balsam server open again."
        return _ask(request, server, then, status=401, fault=fault)
    return _enter(request, server, tokens, _then(then))


def _take(request: Request, server: Server, code: str) -> Tokens | None:
    guess = Attempt(attempts.OF_CODES, attempts.network_of(client_address(request)))
    with server.db.write() as tx:
        attempts.count(tx, guess)
    owner = server.entry_codes.take(code)
    if owner is None:
        return None
    with server.db.write() as tx:
        attempts.forgive(tx, guess)
        return logins.begin(tx, owner, "browser", lifetimes(server), renewable=False)


def _enter(request: Request, server: Server, tokens: Tokens, then: str) -> Response:
    response = pages.go_to(request, then.removeprefix(FOLDER))
    visitors.begin(request, response, tokens.access, server.settings.token_ttl_sec)
    return response


def _then(path: str) -> str:
    """Where to go after the login: a page of ours, whatever somebody put into an address."""
    is_ours = path.startswith(f"{FOLDER}/") and "\\" not in path and path.isprintable()
    return path if is_ours else f"{FOLDER}/"


@router.post("/ui/logout")
def log_out(request: Request, server: Srv, visitor: Acting) -> Response:
    current = logins.login_of(server.db, visitor.token)
    if current is not None:
        logins.end(server.db, visitor.owner, current)
    response = pages.go_to(request, "/login")
    visitors.end(request, response)
    return response
