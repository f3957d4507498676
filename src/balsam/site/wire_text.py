"""Foreign text (output of programs, messages of exceptions) as the server can store it."""

MOST_CHARS = 4_000


def storable(text: str, most: int = MOST_CHARS) -> str:
    """The end of a text, without what a database refuses: NUL characters, halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")[-most:]
