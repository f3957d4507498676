"""How Python programs of Balsam's are started where users' files are."""

from __future__ import annotations


def start_command(interpreter: str, module: str) -> list[str]:
    """The words that start the `main` of a module of Balsam's, before its own arguments.

    The folder in which it is started is not searched for imports, as it is with `-m`: users' folders hold
    files of any name. Python's own option for that, `-P`, would be handed on to what user code starts.
    """
    first = "import sys; sys.path[:1] = [place for place in sys.path[:1] if place]"
    return [interpreter, "-c", f"{first}; from {module} import main; sys.exit(main())"]
