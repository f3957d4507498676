"""Alerts: rules, what fires, and messages on their way."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from balsam.core.alerts import (
    MAX_ADDRESS_CHARS,
    MAX_ALERT_MINUTES,
    MAX_MIN_JOBS,
    MAX_REMIND_HOURS,
    MAX_SECRET_CHARS,
    MIN_JOBS,
    MIN_REMIND_HOURS,
    REMIND_HOURS,
    AlertKind,
    Channel,
    News,
)
from balsam.schemas.types import Id, Tags, Text, Wire

Sites = Annotated[list[Id], Field(min_length=1, max_length=100)]
Minutes = Annotated[float, Field(ge=1, le=MAX_ALERT_MINUTES, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Secret = Annotated[Text, Field(min_length=1, max_length=MAX_SECRET_CHARS)]
Address = Annotated[Text, Field(min_length=1, max_length=MAX_ADDRESS_CHARS)]
MinJobs = Annotated[int, Field(ge=1, le=MAX_MIN_JOBS)]


def _seldom(hours: float) -> float:
    if 0 < hours < MIN_REMIND_HOURS:
        raise ValueError(f"must be 0 (no reminders) or at least {MIN_REMIND_HOURS:g}")
    return hours


RemindHours = Annotated[float, Field(ge=0, le=MAX_REMIND_HOURS, allow_inf_nan=False), AfterValidator(_seldom)]


class AlertRuleCreate(Wire):
    """`site_id`: of these sites, None of all; `minutes` and `threshold` have defaults by kind.

    `secret`: signs a webhook's messages; it is never shown again. `remind_hours` 0: no reminders.
    """

    kind: AlertKind
    site_id: Sites | None = None
    tags: Annotated[Tags, Field(max_length=20)] = Field(default_factory=dict)
    minutes: Minutes | None = None
    threshold: Fraction | None = None
    min_jobs: MinJobs = MIN_JOBS
    remind_hours: RemindHours = REMIND_HOURS
    channel: Channel
    address: Address
    secret: Secret | None = Field(default=None, repr=False)


class AlertRuleUpdate(Wire):
    """What is given changes. A `secret` or `site_id` of null is taken away."""

    site_id: Sites | None = None
    tags: Annotated[Tags, Field(max_length=20)] | None = None
    minutes: Minutes | None = None
    threshold: Fraction | None = None
    min_jobs: MinJobs | None = None
    remind_hours: RemindHours | None = None
    channel: Channel | None = None
    address: Address | None = None
    secret: Secret | None = Field(default=None, repr=False)


class AlertRuleOut(Wire):
    """`signed`: whether it has a secret. `error`: why its last message did not arrive, null since one did.

    `firing`: how many alerts. Times are naive UTC ISO text.
    """

    id: int
    kind: AlertKind
    site_id: list[int] | None
    tags: dict[str, str]
    minutes: float
    threshold: float | None
    min_jobs: int
    remind_hours: float
    channel: Channel
    address: str
    signed: bool
    created: str
    firing: int
    error: str | None
    error_at: str | None
    sent_at: str | None


class AlertOut(Wire):
    """What fires. `subject`: a site's or BatchJob's id, as its kind has it; 0 for all jobs of a rule."""

    rule_id: int
    kind: AlertKind
    subject: int
    since: str
    sentence: str


class DeliveryOut(Wire):
    """A message on its way. `ended` null: it is tried (again). `error`: why the last try failed."""

    id: int
    rule_id: int
    event: News
    created: str
    attempts: int
    ended: str | None
    error: str | None
