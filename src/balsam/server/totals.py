"""Totals over HTTP."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from balsam.core.clock import EPOCH, to_us
from balsam.schemas.totals import TotalKey, TotalOut
from balsam.schemas.types import UtcTime, Wire
from balsam.server.answers import json_answer
from balsam.server.context import Caller, Srv
from balsam.server.queries import Ids
from balsam.server.query_strings import documented, of_query
from balsam.store import totals
from balsam.store.totals import DAY_US, TotalFilter

router = APIRouter(prefix="/analytics", tags=["analytics"])


class TotalQuery(Wire):
    """`by`: keys, repeated. Of the times only the days count (UTC)."""

    by: list[TotalKey] | None = None
    site_id: Ids
    app_id: Ids
    timestamp_after: UtcTime | None = None
    timestamp_before: UtcTime | None = None

    def filter(self) -> TotalFilter:
        return TotalFilter(self.site_id, self.app_id, _day(self.timestamp_after), _day(self.timestamp_before))


@router.get("/totals", responses={200: {"model": list[TotalOut]}}, openapi_extra=documented(TotalQuery))
def list_totals(
    server: Srv, caller: Caller, query: Annotated[TotalQuery, Depends(of_query(TotalQuery))]
) -> Response:
    """Sums over all that there is and that was pruned, by some of site, app, day and state."""
    by = [key.value for key in TotalKey if key in (query.by or ())]
    with server.db.read() as conn:
        rows = totals.page(conn, caller, query.filter(), by)
    return json_answer([_out(row) for row in rows])


def _out(row: dict[str, Any]) -> dict[str, Any]:
    keys: dict[str, Any] = {name: row.get(name) for name in ("site_id", "app_id", "day", "state")}
    keys["day"] = None if keys["day"] is None else _date(keys["day"])
    return keys | {name: row[name] for name in totals.SUMS}


def _date(day: int) -> date:
    return date.fromordinal(EPOCH.toordinal() + day)


def _day(moment: datetime | None) -> int | None:
    return None if moment is None else to_us(moment.astimezone(UTC)) // DAY_US
