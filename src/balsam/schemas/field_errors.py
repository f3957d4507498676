"""What a validation found wrong with a field, as a sentence for a person."""

from collections.abc import Sequence

OPENINGS = {  # pydantic's first words, and what stands after the field's name in their place
    "Value error, ": " ",
    "Input should ": " should ",
    "String should ": " should ",
    "Field required": " is required",
    "Extra inputs are not permitted": " is no field",
}


def sentence(location: Sequence[int | str], message: str) -> str:
    """`workdir must be relative` from `("workdir",)` and `Value error, must be relative`."""
    place = ".".join(map(str, location))
    for opening, instead in OPENINGS.items():
        if place and message.startswith(opening):
            return f"{place}{instead}{message.removeprefix(opening)}"
    message = message.removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
