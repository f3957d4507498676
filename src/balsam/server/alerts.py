"""Alerts over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from balsam.core.alerts import Channel
from balsam.core.clock import naive_text
from balsam.core.limits import MAX_ID
from balsam.logic import alert_rules
from balsam.logic.once import once
from balsam.schemas.alerts import AlertOut, AlertRuleCreate, AlertRuleOut, AlertRuleUpdate, DeliveryOut
from balsam.server.answers import json_answer, no_content
from balsam.server.context import OnceKey, Srv, User

router = APIRouter(prefix="/alerts", tags=["alerts"])
RuleId = Annotated[int, Path(ge=0, le=MAX_ID)]
Row = dict[str, Any]
# All of a rule but its secret, which is never shown.
_RULE = (
    "id",
    "kind",
    "tags",
    "minutes",
    "threshold",
    "min_jobs",
    "remind_hours",
    "channel",
    "address",
    "error",
)


@router.get("/", responses={200: {"model": list[AlertOut]}})
def list_alerts(server: Srv, user: User) -> Response:
    """What fires now, the newest first."""
    with server.db.glance() as conn:
        rows = alert_rules.firing(conn, user)
    return json_answer([_alert(row) for row in rows])


@router.get("/rules", responses={200: {"model": list[AlertRuleOut]}})
def list_rules(server: Srv, user: User) -> Response:
    with server.db.read() as conn:
        rows = alert_rules.rules(conn, user)
    return json_answer([_rule(row) for row in rows])


@router.post("/rules", status_code=201, responses={201: {"model": AlertRuleOut}})
def create_rule(server: Srv, user: User, key: OnceKey, body: AlertRuleCreate) -> Response:
    server.postmen.check(body.channel, body.address)

    def make(tx: Any) -> Row:
        return _rule({**alert_rules.create(tx, user, body), "firing": 0})

    with server.db.write() as tx:
        answer, _ = once(tx, user, key, lambda: make(tx))
    return json_answer(answer, 201)


@router.get("/rules/{rule_id}", responses={200: {"model": AlertRuleOut}})
def get_rule(server: Srv, user: User, rule_id: RuleId) -> Response:
    with server.db.read() as conn:
        row = alert_rules.rule(conn, user, rule_id)
    return json_answer(_rule(row))


@router.put("/rules/{rule_id}", responses={200: {"model": AlertRuleOut}})
def change_rule(server: Srv, user: User, rule_id: RuleId, body: AlertRuleUpdate) -> Response:
    """With another condition the rule begins anew, without a word on what fired."""
    with server.db.write() as tx:
        row = alert_rules.change(tx, user, rule_id, body)
        server.postmen.check(Channel(row["channel"]), row["address"])
        answer = _rule(alert_rules.rule(tx.conn, user, rule_id))
    return json_answer(answer)


@router.delete("/rules/{rule_id}", status_code=204)
def delete_rule(server: Srv, user: User, rule_id: RuleId) -> Response:
    """With its alerts, and the messages that are on their way."""
    with server.db.write() as tx:
        alert_rules.remove(tx, user, rule_id)
    return no_content()


@router.post("/rules/{rule_id}/test", status_code=202, responses={202: {"model": DeliveryOut}})
def test_rule(server: Srv, user: User, rule_id: RuleId, key: OnceKey) -> Response:
    """Sends a test message, once. What became of it tells GET /alerts/deliveries/{id}."""
    with server.db.write() as tx:
        answer, _ = once(tx, user, key, lambda: _delivery(alert_rules.try_out(tx, user, rule_id)))
    return json_answer(answer, 202)


@router.get("/deliveries/{delivery_id}", responses={200: {"model": DeliveryOut}})
def get_delivery(server: Srv, user: User, delivery_id: RuleId) -> Response:
    with server.db.glance() as conn:
        row = alert_rules.delivery(conn, user, delivery_id)
    return json_answer(_delivery(row))


def _rule(row: Row) -> Row:
    times = {name: naive_text(row[name]) for name in ("created", "error_at", "sent_at")}
    told = {"site_id": row["site_ids"], "signed": row["secret"] is not None, "firing": row["firing"]}
    return {**{name: row[name] for name in _RULE}, **told, **times}


def _alert(row: Row) -> Row:
    out = {name: row[name] for name in ("rule_id", "kind", "subject", "sentence")}
    return {**out, "since": naive_text(row["firing_since"])}


def _delivery(row: Row) -> Row:
    out = {name: row[name] for name in ("id", "rule_id", "event", "attempts", "error")}
    return {**out, "created": naive_text(row["created"]), "ended": naive_text(row["ended"])}
