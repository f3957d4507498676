"""On whose behalf a statement runs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Owner:
    """A user, or (`site_id` set) an agent or launcher with the token of one of that user's sites."""

    user_id: int
    site_id: int | None = None
