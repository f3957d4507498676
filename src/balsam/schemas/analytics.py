"""Analytics: series and summaries that the server computes."""

from balsam.schemas.types import Wire


class SeriesOut(Wire):
    """A step function: `values[i]` holds from `times_us[i]` (microseconds since 1970 UTC) on."""

    times_us: list[int]
    values: list[float]


class StateTimeOut(Wire):
    """Seconds that jobs spent in one state, each stay counted once."""

    state: str
    stays: int
    median_sec: float


class SummaryOut(Wire):
    """Jobs by state, time in each state, and node-hours busy and available over the same jobs."""

    jobs_by_state: dict[str, int]
    state_times: list[StateTimeOut]
    node_hours_busy: float
    node_hours_available: float
    skewed_events: int
