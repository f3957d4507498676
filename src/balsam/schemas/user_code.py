"""Which modules are the user's own, so that what they define travels by value.

Installed packages and Python's own library are named, and looked up where the payload is opened: they are
large, often compiled, and a site has its own. Everything else that was imported from a file travels by value:
files beside a script, folders on PYTHONPATH, and packages that are installed in editable form, for those are
being written, and a site may have another state of them, or none.
"""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from collections.abc import Iterable
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType

INSTALLED_DIRS = frozenset({"site-packages", "dist-packages"})
SCRIPTS = frozenset({"__main__", "__mp_main__"})


def is_user_module(module: ModuleType) -> bool:
    """Whether a module is the user's own file: neither installed, nor Python's, nor Balsam's."""
    file = vars(module).get("__file__")
    name = module.__name__
    return isinstance(file, str) and isinstance(name, str) and is_user_code(name, file)


def owner_of(obj: object) -> ModuleType | None:
    """The user's own module that defines a class or function; None for what others define."""
    name = getattr(obj, "__module__", None)
    module = sys.modules.get(name) if isinstance(name, str) and name not in SCRIPTS else None
    return module if isinstance(module, ModuleType) and is_user_module(module) else None


def user_module_names() -> tuple[str, ...]:
    """Of all that are imported, and of the script itself."""
    found = [
        name
        for name, module in sys.modules.copy().items()  # another thread may be importing
        if isinstance(module, ModuleType) and module.__name__ == name and is_user_module(module)
    ]
    return ("__main__", *sorted(found))


def unsent_modules(imported: Iterable[str]) -> list[str]:
    """Those of the imported modules that are the user's own files; none is imported to find that out."""
    return sorted(name for name in imported if _is_users_file(name.partition(".")[0]))


def _is_users_file(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    files = (
        [spec.origin] if spec.has_location and spec.origin else list(spec.submodule_search_locations or ())
    )
    return bool(files) and all(is_user_code(name, file) for file in files)


@cache
def is_user_code(name: str, file: str) -> bool:
    """Whether a module of that name and file is the user's own; compiled ones can't travel by value."""
    if name.partition(".")[0] in ("balsam", *SCRIPTS) or file.endswith(tuple(EXTENSION_SUFFIXES)):
        return False
    return not is_installed(file)


@cache
def is_installed(file: str) -> bool:
    """Whether a file belongs to an installed package or to Python itself."""
    return bool(INSTALLED_DIRS & set(Path(file).parts)) or file.startswith(_python_dirs())


@cache
def _python_dirs() -> tuple[str, ...]:
    return (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), "<frozen")
