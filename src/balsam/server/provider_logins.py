"""A browser that logs itself in at the login provider: no program waits, and nobody is asked."""

from __future__ import annotations

from fastapi import Request, Response

from balsam.core.errors import NotFound
from balsam.core.limits import LOGIN_REQUEST_TTL_SEC
from balsam.logic import login_requests
from balsam.server.context import Server, client_address, public_url
from balsam.server.login_pages import DASHBOARD_COOKIE
from balsam.server.login_pages import depart as depart_with_code


def depart(request: Request, server: Server) -> Response:
    """To the provider. The cookie shows, on the way back, that it is the browser that began."""
    if server.provider is None:
        raise NotFound("this server has no login provider")
    codes = login_requests.start(server.db, "browser", client_address(request), renewable=False)
    response = depart_with_code(request, server, server.provider, codes.user)
    response.set_cookie(
        DASHBOARD_COOKIE,
        codes.device,
        max_age=int(LOGIN_REQUEST_TTL_SEC),
        path=f"{str(request.scope.get('root_path', '')).rstrip('/')}/",
        secure=public_url(request).startswith("https://"),
        httponly=True,
        samesite="lax",
    )
    return response
