"""The pages of a login by browser: to the login provider, back, and the question whether that is wanted.

What they show of people comes from the provider, and is escaped. A page is never kept, never in a frame,
loads nothing, and tells no other site its address.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from balsam.core.errors import BalsamError, Invalid, NotFound
from balsam.core.limits import LOGIN_REQUEST_TTL_SEC
from balsam.logic import login_requests
from balsam.logic.login_requests import Trip
from balsam.schemas.types import Text
from balsam.server import errors
from balsam.server.context import Server, Srv, client_address, in_turn, public_url

if TYPE_CHECKING:
    from balsam.server.oidc import Provider
else:
    Provider = Any  # for FastAPI; only servers with a login provider load what it needs

COOKIE = "balsam-login"
DASHBOARD_COOKIE = "balsam-dashboard-login"  # of a browser that logs in itself, not a program
SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:3rem 1rem;color:#222;background:#fff}"
    "main{max-width:34rem;margin:auto}.code{font:2rem monospace;letter-spacing:.1em}"
    "button,input{font:inherit;padding:.4rem .8rem;margin-right:.5rem}"
)
_POLICY = (
    "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; style-src "
    f"'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
)
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_SENTENCES = {
    "invalid_client": "Nobody waits with this code. It may be mistyped, or too old: run balsam login again.",
    "invalid_state": "This login is over, or was begun in another browser: run balsam login again.",
}
_pages = Environment(loader=PackageLoader("balsam.server", "pages"), autoescape=True)


class _Page(APIRoute):
    """What goes wrong is a page, too, for who reads pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except BalsamError as exc:
                if "text/html" not in request.headers.get("accept", ""):
                    raise
                sentence = _SENTENCES.get(exc.sentence, exc.sentence)
                page = _page(
                    "message.html", "That did not work", message=sentence, status=errors.status_of(exc)
                )
                page.headers.update(errors.headers_of(exc))
                return page

        return answer


router = APIRouter(prefix="/auth/oauth/{provider_name}", route_class=_Page, include_in_schema=False)


def _provider(provider_name: str, server: Srv) -> Provider:
    if server.provider is None or server.provider.name != provider_name:
        raise NotFound("there is no such login provider here")
    return server.provider


TheProvider = Annotated[Provider, Depends(_provider)]
UserCode = Annotated[Text, Query(max_length=40)]


@router.get("/login/device", response_class=HTMLResponse)
async def device_page(
    request: Request, server: Srv, provider: TheProvider, user_code: UserCode = ""
) -> Response:
    """Asks for the code that `balsam login` shows; with one, goes to the login provider."""
    if not user_code:
        return _page("code.html", "Log in")
    return await in_turn(server, depart, request, server, provider, user_code)


@router.get("/login", response_class=HTMLResponse)
async def browser_page(
    request: Request, server: Srv, provider: TheProvider, user_code: UserCode = ""
) -> Response:
    """Goes to the login provider."""
    return await in_turn(server, depart, request, server, provider, user_code)


@router.get("/callback", response_class=HTMLResponse)
async def callback(
    request: Request,
    server: Srv,
    provider: TheProvider,
    state: Text = "",
    code: Text = "",
    error: Text = "",
    iss: Text = "",
) -> Response:
    """Where the login provider sends the browser: asks its user whether the program may act for them."""
    if iss and iss != provider.issuer:
        raise Invalid("invalid_state")  # another provider's answer (RFC 9207)
    trip = Trip(state, _browser(request) or "")
    return await in_turn(server, _arrive, request, server, provider, trip, "" if error else code)


def _arrive(request: Request, server: Server, provider: Provider, trip: Trip, code: str) -> Response:
    request_id = login_requests.check_return(server.db, trip)
    if not code:
        login_requests.refuse(server.db, request_id, trip)
        return _page(
            "message.html", "Not logged in", message="The login provider did not log you in.", status=403
        )
    identity = provider.identity(code, trip, _redirect_uri(request, provider))
    question = login_requests.ask(server.db, request_id, trip, identity)
    if login_requests.is_of_device(server.db, request_id, request.cookies.get(DASHBOARD_COOKIE, "")):
        # Who began is who came back, in one browser: there is no program that somebody else could have sent.
        login_requests.answer(server.db, question.consent, trip.browser, allowed=True)
        return RedirectResponse(f"{public_url(request)}/ui/login/provided", 303, headers=_HEADERS)
    return _page(
        "question.html",
        "Log in a program?",
        consent=question.consent,
        username=question.username,
        user_code=question.user_code,
        address=question.address,
        action=f"{_pages_root(request, provider)}/answer",
        own_forms=True,
    )


@router.post("/answer", response_class=HTMLResponse)
def answer(
    request: Request,
    server: Srv,
    provider: TheProvider,
    consent: Annotated[Text, Form()],
    answer: Annotated[Literal["allow", "refuse"], Form()],
) -> Response:
    """What the user said. The form holds a text that no other site can know."""
    allowed = answer == "allow"
    login_requests.answer(server.db, consent, _browser(request) or "", allowed=allowed)
    if not allowed:
        return _page("message.html", "Refused", message="The program was not logged in.")
    return _page("message.html", "You are logged in", message="The program goes on. You can close this page.")


def depart(request: Request, server: Server, provider: Provider, user_code: str) -> Response:
    """Sends a browser with a user code to the login provider."""
    trip = login_requests.depart(server.db, user_code, _browser(request), client_address(request))
    response = RedirectResponse(provider.address(trip, _redirect_uri(request, provider)), headers=_HEADERS)
    response.set_cookie(
        COOKIE,
        trip.browser,
        max_age=int(2 * LOGIN_REQUEST_TTL_SEC),
        path=urlsplit(_pages_root(request, provider)).path,
        secure=public_url(request).startswith("https://"),
        httponly=True,
        samesite="lax",
    )
    return response


def _browser(request: Request) -> str | None:
    """The secret of this browser, if it has one."""
    secret = request.cookies.get(COOKIE, "")
    return secret if SECRET.fullmatch(secret) else None


def _pages_root(request: Request, provider: Provider) -> str:
    return f"{public_url(request)}/auth/oauth/{provider.name}"


def _redirect_uri(request: Request, provider: Provider) -> str:
    return f"{_pages_root(request, provider)}/callback"


def _page(
    template: str, title: str, *, status: int = 200, own_forms: bool = False, **values: Any
) -> Response:
    text = _pages.get_template(template).render(title=title, style=Markup(STYLE), **values)
    # Not for all: a browser applies it to redirects, too, and the code's form leads to the provider.
    policy = f"{_POLICY}; form-action 'self'" if own_forms else _POLICY
    return HTMLResponse(text, status, headers={**_HEADERS, "content-security-policy": policy})
