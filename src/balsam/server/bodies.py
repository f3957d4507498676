"""JSON bodies by pydantic's parser: several times as fast as Python's, and exact about large numbers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json


class JsonRequest(Request):
    async def json(self) -> Any:
        try:
            return from_json(await self.body(), allow_inf_nan=False, cache_strings="keys")
        except ValueError:
            # Python's parser also reads lone surrogates, which are refused or mended item by item.
            return await super().json()


class BulkRoute(APIRoute):
    """For routers whose bodies hold thousands of items."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return handle_json
