"""Why a launcher ended, as it tells."""

from enum import StrEnum


class EndCode(StrEnum):
    wall_time = "wall_time"
    idle = "idle"
    drained = "drained"
    signal = "signal"
    no_node = "no_node"
    refused = "refused"


AS_USUAL = frozenset({EndCode.wall_time, EndCode.idle, EndCode.drained})
