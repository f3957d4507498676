"""Who looks at a page: a browser's session, and what shows that a change is wanted by its user.

The session is a cookie that holds a token like those of `balsam login`: it is listed and ended like them. It
is sent to the pages below `/ui` alone, so that no page of another site can use it for the REST interface.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response
from starlette.datastructures import FormData

from balsam.core.errors import Forbidden, Unauthorized
from balsam.server.context import Srv, owner_of, public_url
from balsam.store.owner import Owner

FOLDER = "/ui"
TOKEN_FIELD, TOKEN_HEADER = "form_token", "x-form-token"
FOREIGN = "this form was not sent from a page of this server: open the page again, then try again"


class NotLoggedIn(Unauthorized):
    """No session, or one that has ended: pages ask for a login, and then go on."""


@dataclass(frozen=True, slots=True)
class Visitor:
    owner: Owner
    token: str

    @property
    def form_token(self) -> str:
        """What no other site can know, and what forms must bring."""
        return hmac.digest(self.token.encode(), b"a form of the dashboard", "sha256").hex()


async def _visitor(request: Request, server: Srv) -> Visitor:
    token = request.cookies.get(_cookie(request), "")
    if not token:
        raise NotLoggedIn("log in first")
    try:
        owner = await owner_of(server, token)
    except Unauthorized:
        raise NotLoggedIn("this login has ended: log in again") from None
    if owner.site_id is not None:
        raise Forbidden("a site's token opens no pages: log in as its user")
    return Visitor(owner, token)


Looking = Annotated[Visitor, Depends(_visitor)]


async def _form(request: Request) -> FormData:
    return await request.form(max_files=0, max_fields=20_000)


Form = Annotated[FormData, Depends(_form)]


async def _acting(request: Request, visitor: Looking, form: Form) -> Visitor:
    sent = request.headers.get(TOKEN_HEADER) or str(form.get(TOKEN_FIELD, ""))
    if not is_own(request) or not hmac.compare_digest(sent.encode(), visitor.form_token.encode()):
        raise Forbidden(FOREIGN)
    return visitor


# A visitor who changes something.
Acting = Annotated[Visitor, Depends(_acting)]


def is_own(request: Request) -> bool:
    """Whether a request comes from a page of this server, as far as the browser tells."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    if origin is None:
        return True  # no browser, or an old one: the token decides
    return urlsplit(origin).netloc in (urlsplit(public_url(request)).netloc, request.headers.get("host"))


def begin(request: Request, response: Response, token: str, seconds: float) -> None:
    """Makes the browser that gets this response a visitor."""
    response.set_cookie(
        _cookie(request),
        token,
        max_age=int(seconds),
        path=_path(request),
        secure=public_url(request).startswith("https://"),
        httponly=True,
        samesite="lax",
    )


def end(request: Request, response: Response) -> None:
    response.delete_cookie(_cookie(request), path=_path(request), httponly=True, samesite="lax")


def has_session(request: Request) -> bool:
    """Whether the browser brings a session, valid or not."""
    return _cookie(request) in request.cookies


def root(request: Request) -> str:
    """The path below which a proxy shows this server; empty where it is at the top."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def _path(request: Request) -> str:
    return f"{root(request)}{FOLDER}"


def _cookie(request: Request) -> str:
    # Browsers send cookies to all ports of a host: two servers of one machine would log each other out.
    url = urlsplit(public_url(request))
    return f"balsam-session-{url.port or url.scheme}"
