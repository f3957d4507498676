"""Every error's HTTP status, in one place."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from balsam.core.clock import now_us
from balsam.core.errors import (
    BalsamError,
    Conflict,
    Forbidden,
    Invalid,
    KeyReused,
    NotFound,
    ProviderFailed,
    Refused,
    TooLarge,
    TooManyAttempts,
    Unauthorized,
)
from balsam.core.plural import beyond
from balsam.store import space

log = logging.getLogger(__name__)
MOST_ERRORS = 50  # of one request

STATUS: dict[type[BalsamError], int] = {
    NotFound: 404,
    Conflict: 400,
    Invalid: 400,
    TooLarge: 400,
    Refused: 409,
    KeyReused: 422,
    Unauthorized: 401,
    Forbidden: 403,
    TooManyAttempts: 429,
    ProviderFailed: 502,
}


def install(app: FastAPI) -> None:
    app.add_exception_handler(BalsamError, _refused)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(OperationalError, _database_away)
    app.add_exception_handler(PoolTimeout, _database_away)
    app.add_exception_handler(IntegrityError, _crossed)


def _refused(_request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, BalsamError)
    status = status_of(exc)
    body = {"detail": exc.sentence}
    if status == 404:
        body["error"] = "Not found"
    return JSONResponse(body, status, headers=headers_of(exc))


def status_of(exc: BalsamError) -> int:
    return STATUS[type(exc)]


def headers_of(exc: BalsamError) -> dict[str, str]:
    if isinstance(exc, TooManyAttempts):
        return {"retry-after": str(exc.retry_after_sec)}
    # A failed password login is no challenge, as published.
    if isinstance(exc, Unauthorized) and exc.sentence != "Unauthorized":
        return {"www-authenticate": "Bearer"}
    return {}


def _not_valid(_request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, RequestValidationError)
    # What was sent is left out: it may be a password, or megabytes.
    errors = exc.errors()
    detail: list[dict[str, Any]] = [
        {"loc": list(error["loc"]), "msg": error["msg"], "type": error["type"]}
        for error in errors[:MOST_ERRORS]
    ]
    if more := beyond(len(errors), MOST_ERRORS):
        detail.append(
            {"loc": [errors[0]["loc"][0]], "msg": f"{more.strip()}, which are left out", "type": "more"}
        )
    return JSONResponse({"detail": detail}, 422)


def _database_away(request: Request, exc: Exception) -> JSONResponse:
    log.error("the database did not answer: %s", exc)
    if isinstance(exc, DBAPIError) and (exc.connection_invalidated or exc.statement is None):
        request.app.state.server.up_since = now_us()  # a lease ages only while the database is there
    sentence = "The server's database can't be written or read now; the server's log says why. Try again."
    if reason := space.trouble(exc):
        request.app.state.server.disk_trouble = reason
        sentence = (
            f"{reason[0].upper()}{reason[1:]}: those who run the server have to make room. Try again then."
        )
    return JSONResponse({"detail": sentence}, 503, headers={"retry-after": "1"})


def _crossed(_request: Request, exc: Exception) -> JSONResponse:
    log.warning("two requests crossed: %s", exc)
    sentence = "Another request changed the same things at the same time. Look again, then try again."
    return JSONResponse({"detail": sentence}, 409)
