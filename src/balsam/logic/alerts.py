"""When an alert begins, goes on and is over: values in, values out.

A subject is bad for `hold` before its alert begins, and well for `calm` before it is over, so that something
that hovers at a threshold does not send a message each time. All messages of one look are gathered by what
they say, so that fifty sites that go down at once are one message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from balsam.core.alerts import AlertKind, News

CALM_US = 5 * 60 * 1_000_000
MINUTE_US = 60 * 1_000_000
HOUR_US = 60 * MINUTE_US
# Kinds whose minutes are how long a subject must be bad; of the others they are in what is looked at.
_HELD = frozenset({AlertKind.stalled_backlog, AlertKind.idle_allocation})


class Verdict(Enum):
    """How a subject looks now; between the two it stays as it was."""

    BAD = "bad"
    BETWEEN = "between"
    WELL = "well"


@dataclass(frozen=True, slots=True)
class Symptom:
    """What is seen of one subject. `since`: when it last showed life, though it looks bad.

    `seen_since`: before then nobody could have told the server anything, which begins no alert and ends none.
    """

    subject: int
    verdict: Verdict
    sentence: str
    since: int = 0
    seen_since: int = 0


@dataclass(frozen=True, slots=True)
class Alert:
    """What is known of one subject. Times in microseconds; `told`: when its owner last heard of it."""

    subject: int
    bad_since: int | None = None
    firing_since: int | None = None
    well_since: int | None = None
    told: int | None = None
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """Of a rule, in microseconds; `remind` 0: no reminders."""

    hold: int
    calm: int
    remind: int

    @classmethod
    def of(cls, kind: AlertKind, minutes: float, remind_hours: float) -> Terms:
        length = int(minutes * MINUTE_US)
        return cls(
            hold=length if kind in _HELD else 0,
            calm=min(CALM_US, length),
            remind=int(remind_hours * HOUR_US),
        )


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be told, of alerts that have it in common."""

    event: News
    alerts: tuple[Alert, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What is known from now on, and what is to be told."""

    alerts: dict[int, Alert]
    messages: tuple[Message, ...]


GONE = "It is no longer there."


def decide(known: Mapping[int, Alert], symptoms: Iterable[Symptom], terms: Terms, now: int) -> Decision:
    """What one look makes of what was known before."""
    seen = {one.subject: one for one in symptoms}
    after = {subject: _next(known.get(subject), one, terms, now) for subject, one in seen.items()}
    began = [one for one in after.values() if _fires(one) and not _fires(known.get(one.subject))]
    over = [one for one in known.values() if _fires(one) and not _fires(after.get(one.subject))]
    ended = [
        replace(one, sentence=seen[one.subject].sentence if one.subject in seen else GONE) for one in over
    ]
    old = [one for one in after.values() if _fires(one) and _fires(known.get(one.subject))]
    reminded = old if terms.remind and any(now - (one.told or 0) >= terms.remind for one in old) else []
    for one in (*began, *reminded):
        after[one.subject] = replace(one, told=now)
    said = ((News.over, ended), (News.began, began), (News.reminder, reminded))
    messages = tuple(
        Message(event, tuple(sorted(of_it, key=lambda one: one.subject))) for event, of_it in said if of_it
    )
    return Decision({one.subject: one for one in after.values() if one != Alert(one.subject)}, messages)


def _fires(alert: Alert | None) -> bool:
    return alert is not None and alert.firing_since is not None


def _next(known: Alert | None, symptom: Symptom, terms: Terms, now: int) -> Alert:
    before = known or Alert(symptom.subject)
    bad_since = _bad_since(before, symptom, now)
    if before.firing_since is None:
        if bad_since is None or now - bad_since < terms.hold:
            return Alert(symptom.subject, bad_since=bad_since)
        return Alert(symptom.subject, bad_since, firing_since=now, sentence=symptom.sentence)
    lives = symptom.verdict is Verdict.BAD and now - symptom.since < terms.hold
    if symptom.verdict is not Verdict.WELL and not lives:
        return replace(before, bad_since=bad_since, well_since=None, sentence=symptom.sentence)
    well_since = now if before.well_since is None else before.well_since
    if now - well_since >= terms.calm:
        return Alert(symptom.subject, bad_since=bad_since)
    return replace(before, bad_since=bad_since, well_since=well_since, sentence=symptom.sentence)


def _bad_since(before: Alert, symptom: Symptom, now: int) -> int | None:
    if symptom.verdict is not Verdict.BAD:
        return None
    since = now if before.bad_since is None else before.bad_since
    return min(now, max(since, symptom.since, symptom.seen_since))
