"""How pages say things: times, numbers, states. Values in, text or safe HTML out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

import orjson
from markupsafe import Markup

from balsam.core.clock import from_us
from balsam.core.plural import beyond
from balsam.core.states import BatchJobState, JobState, TransferItemState

NOTHING = "\N{EN DASH}"
J, B, T = JobState, BatchJobState, TransferItemState
# What a state means for who looks: the kinds of `static/app.css`.
KINDS: dict[str, str] = {
    **dict.fromkeys((J.created, J.awaiting_parents, J.ready, J.staged_in), "waiting"),
    **dict.fromkeys((J.preprocessed, J.restart_ready, J.postprocessed, J.staged_out), "ready"),
    J.running: "running",
    J.run_done: "done",
    J.job_finished: "done",
    J.run_error: "failed",
    J.failed: "failed",
    J.run_timeout: "cut",
    B.pending_submission: "waiting",
    B.queued: "waiting",
    B.running: "running",
    B.finished: "done",
    B.submit_failed: "failed",
    B.pending_deletion: "cut",
    T.awaiting_job: "waiting",
    T.pending: "waiting",
    T.active: "running",
    T.inactive: "cut",
    T.done: "done",
    T.error: "failed",
}
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def kind(state: str) -> str:
    return KINDS.get(state, "waiting")


def state(name: str) -> Markup:
    """A state as a mark; its colour only repeats what its word says."""
    return Markup('<span class="state {}">{}</span>').format(kind(name), name)


def moment(us: int | None) -> Markup | str:
    """A time in UTC, to the second; a dash where there is none."""
    if us is None:
        return NOTHING
    at = from_us(us)
    return Markup('<time datetime="{}">{}</time>').format(
        f"{at:%Y-%m-%dT%H:%M:%SZ}", f"{at:%Y-%m-%d %H:%M:%S}"
    )


def clock(us: int, now: int) -> Markup | str:
    """A time of today, as a list of what happens shows it; of another day as `moment` has it."""
    at = from_us(us)
    if at.date() != from_us(now).date():
        return moment(us)
    return Markup('<time datetime="{}">{}</time>').format(f"{at:%Y-%m-%dT%H:%M:%SZ}", f"{at:%H:%M:%S}")


def duration(us: float | None) -> str:
    """`3 d 4 h`, `4 h 5 min`, `5 min 6 s`, `6.1 s`; a dash where there is none."""
    if us is None:
        return NOTHING
    seconds = max(0.0, us / 1e6)
    if seconds < 10:
        return f"{seconds:.1f} s"
    rest, parts = int(seconds), list[str]()
    for name, size in _UNITS:
        number, rest = divmod(rest, size)
        if number or (parts and len(parts) < 2):
            parts.append(f"{number} {name}")
    return " ".join(parts[:2])


def number(value: float | None) -> str:
    """With spaces between thousands; fractions to three digits, however small."""
    if value is None:
        return NOTHING
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}".replace(",", "\u202f")
    text = f"{value:.3g}"
    return text if "e" not in text else f"{value:.1e}"


def percent(value: float | None) -> str:
    """`87 %`; `0.31 %` and `99.7 %` where that would else be nothing or all."""
    if value is None:
        return NOTHING
    share = 100 * value
    if 0 < share < 1:
        return f"{share:.2g} %"
    return f"{share:.1f} %" if 99 < share < 100 else f"{share:.0f} %"


def counted(count: float, noun: str) -> str:
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def pretty(value: Any) -> str:
    """JSON for reading."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode()


def tag_list(tags: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in tags.items())


def query(**values: Any) -> str:
    """A query string of what is given; lists as several, nothing for None and empty ones."""
    pairs = [
        (name, one)
        for name, value in values.items()
        for one in (value if isinstance(value, (list, tuple, set, frozenset)) else [value])
        if one is not None and one != ""
    ]
    return urlencode(pairs)


def faults(found: Iterable[Any]) -> str:
    """What is wrong with what was sent, without repeating it: it may be long."""
    told = [(".".join(str(step) for step in one["loc"] if step != "query"), str(one["msg"])) for one in found]
    shown = "; ".join(f"{where}: {text}" if where else text for where, text in told[:10])
    return shown + beyond(len(told), 10)


FILTERS: dict[str, Any] = {
    "state": state,
    "kind": kind,
    "moment": moment,
    "clock": clock,
    "duration": duration,
    "number": number,
    "percent": percent,
    "pretty": pretty,
    "tag_list": tag_list,
}
GLOBALS: dict[str, Any] = {"query": query, "counted": counted, "JobState": JobState}
