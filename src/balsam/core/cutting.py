"""Long texts made short: what is cut is said, and neither the beginning nor the end is lost."""


def without_middle(text: str, most: int) -> str:
    """At most so many characters: the first third and, since errors tell the cause last, the end."""
    if len(text) <= most:
        return text
    told = f" … ({len(text) - most:,} characters left out) … "
    room = max(0, most - len(told))
    head = room // 3
    return f"{text[:head]}{told}{text[len(text) - (room - head) :]}"[:most]
