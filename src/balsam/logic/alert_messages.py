"""What the messages of alerts say: one body for webhooks, from which mail is written."""

from __future__ import annotations

from typing import Any

from balsam.core.alerts import AlertKind, News
from balsam.core.clock import naive_text
from balsam.logic.alerts import Alert, Message
from balsam.logic.reasons import counted, duration

Row = dict[str, Any]
MAX_ALERTS = 20  # are named in one message
TITLES: dict[AlertKind, str] = {
    AlertKind.failure_rate: "jobs fail",
    AlertKind.stalled_backlog: "no job starts",
    AlertKind.idle_allocation: "nodes are idle",
    AlertKind.site_down: "a site is down",
}
_HEADS = {News.began: "", News.over: "over: ", News.reminder: "still: "}


def body(rule: Row, message: Message, now: int) -> Row:
    """`text` is for people, the rest for programs; times are naive UTC ISO text."""
    title = f"{_HEADS[message.event]}{TITLES[AlertKind(rule['kind'])]}"
    named = message.alerts[:MAX_ALERTS]
    lines = [_line(message.event, alert, now) for alert in named]
    more = len(message.alerts) - len(named)
    if more:
        lines.append(f"And {counted(more, 'other')} like these.")
    return {
        **_head(rule, message.event, now),
        "title": title,
        "text": "\n".join(lines),
        "alerts": [_told(alert) for alert in named],
        "more": more,
    }


def test_body(rule: Row, now: int) -> Row:
    """The message of a test: of no alert."""
    return {
        **_head(rule, News.test, now),
        "title": "test",
        "text": f"This is a test of alert rule {rule['id']} ({rule['kind']}).",
        "alerts": [],
        "more": 0,
    }


def _head(rule: Row, event: News, now: int) -> Row:
    about = {"id": rule["id"], "kind": rule["kind"], "site_id": rule["site_ids"], "tags": rule["tags"]}
    limits = {"minutes": rule["minutes"], "threshold": rule["threshold"]}
    return {"event": event.value, "time": naive_text(now), "rule": about | limits}


def _line(event: News, alert: Alert, now: int) -> str:
    sentence = _in_one_line(alert.sentence)
    if event is News.began or alert.firing_since is None:
        return sentence
    lasted = "It lasted" if event is News.over else "It has lasted"
    return f"{sentence} {lasted} {duration(now - alert.firing_since)}."


def _told(alert: Alert) -> Row:
    return {
        "subject": alert.subject,
        "since": naive_text(alert.firing_since),
        "sentence": _in_one_line(alert.sentence),
    }


def _in_one_line(sentence: str) -> str:
    """Names in it are anybody's text."""
    return " ".join(sentence.split())
