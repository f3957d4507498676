"""What every route needs: the database, the caller, the request's idempotency key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool

from balsam.core import digest
from balsam.core.errors import Forbidden, Unauthorized
from balsam.logic import users
from balsam.logic.once import Key
from balsam.server.entry_codes import EntryCodes
from balsam.server.metrics import Metrics
from balsam.server.postmen import Postmen
from balsam.server.settings import ServerSettings
from balsam.server.tokens import KnownTokens
from balsam.server.watchers import Watchers
from balsam.store.database import Database
from balsam.store.owner import Owner

if TYPE_CHECKING:
    from balsam.server.oidc import Provider

P = ParamSpec("P")
T = TypeVar("T")

SLOW_AT_ONCE = 8


@dataclass(slots=True)
class Server:
    """The parts that the routes share; made by `server.app`."""

    settings: ServerSettings
    db: Database
    watchers: Watchers
    epoch: str
    up_since: int
    metrics: Metrics
    tokens: KnownTokens
    postmen: Postmen
    provider: Provider | None = None  # who logs in users that come with a browser
    slow: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(SLOW_AT_ONCE))
    entry_codes: EntryCodes = field(default_factory=EntryCodes)
    disk_trouble: str | None = None  # of the database, as the last write that failed for it says


def _server(request: Request) -> Server:
    server = request.app.state.server
    assert isinstance(server, Server)
    return server


# Dependencies are coroutines wherever they need not wait: a plain function costs a trip through a thread.
async def _server_of(request: Request) -> Server:
    return _server(request)


Srv = Annotated[Server, Depends(_server_of)]


def bearer(request: Request) -> str:
    """The token that the request carries."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("Not authenticated")
    return token


async def in_turn(server: Server, call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """For what strangers may ask for and takes long, such as a password's hash or a login provider's answer.

    Only a few run at a time, and the others wait on no thread, so that ordinary requests always find one.
    """
    return await to_thread.run_sync(partial(call, *args, **options), limiter=server.slow)


def public_url(request: Request) -> str:
    """What users call this server, without a slash at the end."""
    return (_server(request).settings.public_url or str(request.base_url)).rstrip("/")


def client_address(request: Request) -> str:
    """Where the request comes from; a trusted proxy has said so."""
    return request.client.host if request.client else ""


async def owner_of(server: Server, token: str) -> Owner:
    """Who may act with this token; raises Unauthorized where nobody may (any more)."""
    known = server.tokens.owner(token)
    return known if known is not None else await run_in_threadpool(_look_up, server, token)


async def _caller(request: Request, server: Srv) -> Owner:
    return await owner_of(server, bearer(request))


def _look_up(server: Server, token: str) -> Owner:
    generation = server.tokens.generation
    with server.db.glance() as conn:
        owner, expires = users.whose(conn, token)
    server.tokens.remember(token, owner, expires, generation)
    return owner


async def is_a_users(request: Request) -> bool:
    """Whether the request's token is valid. Yes where the database is away: its route will say so."""
    try:
        await _caller(request, _server(request))
    except Unauthorized:
        return False
    except (DBAPIError, PoolTimeout):
        return True
    return True


Caller = Annotated[Owner, Depends(_caller)]


async def _user(caller: Caller) -> Owner:
    if caller.site_id is not None:
        raise Forbidden("a site's token may not do this: log in with `balsam login`")
    return caller


User = Annotated[Owner, Depends(_user)]


async def _key(request: Request) -> Key | None:
    text = request.headers.get("idempotency-key")
    if text is None:
        return None
    what = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    return Key(text, digest.of_bytes(what + await request.body()))


OnceKey = Annotated[Key | None, Depends(_key)]


def _prefers(request: Request, wanted: str) -> bool:
    preferences = ",".join(request.headers.getlist("prefer")).split(",")
    return any(text.partition(";")[0].strip().lower() == wanted for text in preferences)


async def _strict(request: Request) -> bool:
    return _prefers(request, "handling=strict")


# Whether the client wants what is doubtful refused (RFC 7240), as ours does; else it is accepted.
Strict = Annotated[bool, Depends(_strict)]


async def _lenient(request: Request) -> bool:
    return _prefers(request, "handling=lenient")


# Whether the client reads which of many changes were refused; else it takes any 2xx for all of them.
Lenient = Annotated[bool, Depends(_lenient)]


async def _minimal(request: Request) -> bool:
    return _prefers(request, "return=minimal")


# Whether the client knows what it sent and wants only the rest answered (RFC 7240).
Minimal = Annotated[bool, Depends(_minimal)]


async def _representation(request: Request) -> bool:
    return _prefers(request, "return=representation")


# Whether the client wants all of the answer in its body (RFC 7240); usual are a number and a header.
Representation = Annotated[bool, Depends(_representation)]
