"""Pages and their parts. A part is made anew, alone, when something has changed that it shows.

What comes from users is escaped. A page runs no script and no style but this server's own files.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import ValidationError
from sqlalchemy import Connection
from starlette.datastructures import QueryParams

from balsam.core.clock import now_us
from balsam.core.errors import BalsamError, NotFound
from balsam.server import errors
from balsam.server.context import Server
from balsam.server.dashboard import words
from balsam.server.dashboard.assets import assets
from balsam.server.dashboard.visitors import FOLDER, NotLoggedIn, Visitor, has_session, root
from balsam.store import users
from balsam.store.owner import Owner

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {"content-security-policy": POLICY, "x-frame-options": "DENY", "vary": "hx-request"}


@dataclass(frozen=True, slots=True)
class Look:
    """What a part is made from: one snapshot of the database, on behalf of one visitor."""

    conn: Connection
    visitor: Visitor
    query: QueryParams
    now: int

    @property
    def owner(self) -> Owner:
        return self.visitor.owner


Part = Callable[[Look], Mapping[str, Any]]


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("balsam.server.dashboard", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(words.FILTERS)
    made.globals.update(words.GLOBALS)
    return made


def render(
    request: Request,
    template: str,
    *,
    status: int = 200,
    visitor: Visitor | None = None,
    username: str | None = None,
    **values: Any,
) -> HTMLResponse:
    """`username`: None where nobody is logged in."""
    top = root(request)
    text = _templates().get_template(template).render(
        {
            "root": f"{top}{FOLDER}",
            "static": f"{top}{FOLDER}/static/{assets().version}",
            "here": str(request.url.path),
            "username": username,
            "form_token": "" if visitor is None else visitor.form_token,
            "now": now_us(),
            **values,
        }
    )  # fmt: skip
    return HTMLResponse(text, status, headers=_HEADERS)


def show(
    request: Request,
    server: Server,
    visitor: Visitor,
    name: str,
    parts: Mapping[str, Part],
    *,
    lazy: frozenset[str] = frozenset(),
    frame: Part | None = None,
    **values: Any,
) -> HTMLResponse:
    """The page `name`, or, where the query names a `part`, that part alone.

    `lazy` parts are left out of the page, which asks for them as soon as it is shown. `frame`: what the page
    shows beside its parts.
    """
    wanted = request.query_params.get("part")
    with server.db.read() as conn:
        look = Look(conn, visitor, request.query_params, now_us())
        if wanted is not None:
            if wanted not in parts:
                raise NotFound("this page has no such part")
            found = parts[wanted](look)
            return render(request, f"{name}/{wanted}.html", visitor=visitor, username="", **values, **found)
        found = {} if frame is None else {**frame(look)}
        for part, make in parts.items():
            if part not in lazy:
                found |= make(look)
        username = users.get(conn, visitor.owner)["username"]
    address = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    about = {"page": name, "lazy": lazy, "address": address, **values, **found}
    return render(request, f"{name}.html", visitor=visitor, username=username, **about)


def is_part(request: Request) -> bool:
    """Whether a script asks for something to be put into a page, not a browser for a page."""
    return "hx-request" in request.headers


def go_to(request: Request, path: str) -> Response:
    """On to another page: `path` below the dashboard's."""
    target = f"{root(request)}{FOLDER}{path}"
    if is_part(request):
        return Response(status_code=204, headers={"hx-redirect": target})
    return RedirectResponse(target, 303)


class PageRoute(APIRoute):
    """What goes wrong is a page or, for a script, a sentence; who is not logged in is asked to."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except NotLoggedIn as exc:
                return _ask_to_log_in(request, exc)
            except BalsamError as exc:
                response = problem(request, errors.status_of(exc), exc.sentence)
                response.headers.update(errors.headers_of(exc))
                return response
            except RequestValidationError as exc:
                return problem(request, 400, words.faults(exc.errors()))
            except ValidationError as exc:
                return problem(request, 400, words.faults(exc.errors()))
            except HTTPException as exc:
                return problem(request, exc.status_code, str(exc.detail))

        return answer


_TITLES = {400: "That can't be done", 403: "Not allowed", 404: "Not found", 409: "Not now"}


def problem(request: Request, status: int, sentence: str) -> Response:
    if is_part(request) or request.headers.get("accept", "").startswith("application/json"):
        return PlainTextResponse(sentence, status)
    if status == 404 and sentence == "Not found":
        sentence = "There is no such thing here, or it is not yours."
    title = _TITLES.get(status, "That did not work")
    username = "" if has_session(request) else None
    return render(request, "problem.html", status=status, username=username, title=title, sentence=sentence)


def _ask_to_log_in(request: Request, exc: NotLoggedIn) -> Response:
    if not is_part(request) and request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        here = request.url.path.removeprefix(root(request))
        query = f"?{request.url.query}" if request.url.query else ""
        then = f"?then={quote(here + query, safe='')}" if here not in (FOLDER, f"{FOLDER}/") else ""
        return RedirectResponse(f"{root(request)}{FOLDER}/login{then}", 303)
    return PlainTextResponse(exc.sentence, 401, {"www-authenticate": "Bearer"})
