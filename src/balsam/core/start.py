"""How Balsam starts programs of its own: without imports from users' folders.

Run as a file, `python start.py MODULE ARGUMENTS` calls the module's `main()`. `python -m MODULE` looks into
the working directory first, and a site folder, a workdir or a home may hold a `random.py` that is a user's.
`python -P -m MODULE` still does where PYTHONPATH has an empty part, as in `PYTHONPATH=$PYTHONPATH:/my/lib`,
and hands its flag on to what the program starts in its turn. The environment is left as it is, for it is also
that of users' programs.
"""
# ruff: noqa: PTH100, PTH117, PTH120 - nothing may be imported that is not loaded before any path counts

import os
import sys


def command(module: str, interpreter: str = sys.executable) -> list[str]:
    """The words that start `main()` of a module of Balsam's; its own arguments follow them."""
    return [interpreter, os.path.abspath(__file__), module]


def safe_path(path: list[str]) -> list[str]:
    """The standard library, the folder that holds Balsam, other packages, and last what PYTHONPATH names.

    Without the working directory. An interpreter that an app names has a Balsam among its own packages.
    """
    standard = os.path.dirname(os.__file__)
    beside = os.path.dirname(os.path.realpath(__file__))  # where an interpreter looks that is given this file
    home = os.path.dirname(os.path.dirname(beside))
    unwanted = {"", beside, *(os.path.abspath(part) for part in _pythonpath() if not os.path.isabs(part))}
    named = {os.path.abspath(part) for part in _pythonpath()}

    def place(part: str) -> int:
        if part == standard or (part.endswith((".zip", "lib-dynload")) and "-packages" not in part):
            return 0
        if part == home:
            return 1
        return 3 if part in named else 2

    return sorted([part for part in path if part == home or part not in unwanted], key=place)


def scripts_path(path: list[str]) -> list[str]:
    """The same path for a user's code, which finds what PYTHONPATH names first, as a script would."""
    named = list(dict.fromkeys(os.path.abspath(part) for part in _pythonpath()))
    return [*named, *(part for part in path if part not in named)]


def _pythonpath() -> list[str]:
    text = "" if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "")
    return text.split(os.pathsep) if text else []


def _start() -> int | None:
    sys.path[:] = safe_path(sys.path)
    from importlib import import_module  # now that it is the library's own

    # Else what users' code starts with multiprocessing would take this file for its own main module.
    del sys.modules["__main__"].__file__
    sys.argv[:] = sys.argv[1:]
    status: int | None = import_module(sys.argv[0]).main()
    return status


if __name__ == "__main__":
    sys.exit(_start())
