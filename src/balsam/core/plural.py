"""Numbers with their nouns: `1 node`, `2 nodes`."""


def counted(number: float, noun: str) -> str:
    """The noun of one, or with an `s`; whole numbers and fractions (`0.5 GPUs`) as they are written short."""
    written = f"{number:g}" if isinstance(number, float) else str(number)
    return f"{written} {noun}" if number == 1 else f"{written} {noun}s"


def beyond(number: int, shown: int) -> str:
    """What follows a list of which the first are shown: ` and 3 more`, or nothing."""
    return f" and {number - shown:,} more" if number > shown else ""
