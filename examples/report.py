"""What a campaign came to, for people."""

from __future__ import annotations

from rich.table import Table

from balsam.schemas.analytics import SummaryOut

LIFE = ("AWAITING_PARENTS", "STAGED_IN", "PREPROCESSED", "RUNNING", "RUN_DONE", "RUN_ERROR", "RESTART_READY")


def states_table(summary: SummaryOut) -> Table:
    """Jobs by state, and the median of the seconds that jobs spent in each state."""
    table = Table(title="Jobs", title_justify="left")
    table.add_column("State")
    table.add_column("now there", justify="right")
    table.add_column("stays", justify="right")
    table.add_column("median seconds", justify="right")
    times = {row.state: row for row in summary.state_times}
    now = summary.jobs_by_state
    others = sorted((set(times) | set(now)) - set(LIFE))
    for state in [*LIFE, *others]:
        row = times.get(state)
        if row is None and not now.get(state):
            continue
        median = f"{row.median_sec:.3f}" if row else ""
        table.add_row(state, str(now.get(state, "")), str(row.stays) if row else "", median)
    return table


def node_hours(summary: SummaryOut) -> str:
    """How much of the nodes' time was used."""
    busy, available = summary.node_hours_busy, summary.node_hours_available
    share = f" ({busy / available:.0%})" if available else ""
    return f"{busy:.4f} node-hours used{share}, {max(0.0, available - busy):.4f} idle"
