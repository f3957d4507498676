"""What an alert can be about, how it travels, and its bounds; both ends know these."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class AlertKind(StrEnum):
    """What a rule looks for."""

    failure_rate = "failure_rate"
    stalled_backlog = "stalled_backlog"
    idle_allocation = "idle_allocation"
    site_down = "site_down"


class Channel(StrEnum):
    """How its messages travel."""

    webhook = "webhook"
    mail = "mail"


class News(StrEnum):
    """What a message says of the alerts in it."""

    began = "began"
    over = "over"
    reminder = "reminder"
    test = "test"


@dataclass(frozen=True, slots=True)
class AlertDefaults:
    """Of a kind: minutes, and the fraction that is its threshold; None where it has none."""

    minutes: float
    threshold: float | None = None


DEFAULTS: dict[AlertKind, AlertDefaults] = {
    AlertKind.failure_rate: AlertDefaults(60.0, 0.2),
    AlertKind.stalled_backlog: AlertDefaults(60.0),
    AlertKind.idle_allocation: AlertDefaults(15.0, 0.1),
    AlertKind.site_down: AlertDefaults(10.0),
}
MAX_ALERT_MINUTES = 30 * 24 * 60.0
MAX_ALERT_RULES = 50  # of one user
MIN_JOBS = 10  # that must have ended before a rate is told
MAX_MIN_JOBS = 5_000  # of the newest, which are not all looked at
REMIND_HOURS = 24.0
MIN_REMIND_HOURS = 0.5
MAX_REMIND_HOURS = 30 * 24.0
MAX_ADDRESS_CHARS = 2_000
MAX_SECRET_CHARS = 1_000
GIVE_UP_SEC = 24 * 3600.0  # a message that nobody has taken for so long

# Headers of a webhook. The signature: `sha256=` and the hex HMAC of "TIMESTAMP.BODY".
DELIVERY_HEADER = "Balsam-Delivery"
EVENT_HEADER = "Balsam-Event"
TIMESTAMP_HEADER = "Balsam-Timestamp"
SIGNATURE_HEADER = "Balsam-Signature"

# Of the addresses that RFC 5321 allows those that people use: no quotes, comments or numbers of hosts.
PLAIN_MAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z0-9-]{2,63}")
