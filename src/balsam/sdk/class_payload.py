"""App classes as text, with the user's own code inside, so that a site needs no copy of it."""

from __future__ import annotations

import base64
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

from balsam.core.limits import MAX_CLASS_CHARS
from balsam.schemas import SerializeError

INSTALLED_DIRS = frozenset({"site-packages", "dist-packages"})


def class_payload(cls: type) -> str:
    """The class by value, with what it uses of modules that are not installed packages.

    Raises SerializeError with the class's name where something that it refers to can't be sent.
    """
    with _by_value(list(_user_modules())):
        payload = _pickled(cls)
    if len(payload) > MAX_CLASS_CHARS:
        raise SerializeError(
            f"the app {cls.__name__} takes {len(payload):,} characters when serialized, and the limit is "
            f"{MAX_CLASS_CHARS:,}: it or a module that it uses holds large values; load them inside run()"
        )
    return payload


def _pickled(cls: type) -> str:
    from balsam.schemas import portable
    from balsam.sdk.class_pickler import ClassPickler, Prepared

    try:
        return base64.b64encode(portable.dumps(Prepared(cls), ClassPickler)).decode("ascii")
    except Exception as exc:  # whatever the __reduce__ of an object that it refers to raises
        raise SerializeError(f"the app {cls.__name__} can't be sent to its site: {exc}") from exc


@contextmanager
def _by_value(modules: list[ModuleType]) -> Iterator[None]:
    import cloudpickle

    before = cloudpickle.list_registry_pickle_by_value()
    added = [module for module in modules if module.__name__ not in before]
    for module in added:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in added:
            cloudpickle.unregister_pickle_by_value(module)


def _user_modules() -> Iterator[ModuleType]:
    for name, module in sys.modules.copy().items():  # another thread may be importing
        file = getattr(module, "__file__", None)
        if (
            isinstance(module, ModuleType)
            and file
            and module.__name__ == name
            and is_user_code(name, Path(file))
        ):
            yield module


def is_user_code(name: str, file: Path) -> bool:
    """Whether a module is the user's own file: neither installed, nor Python's, nor Balsam's."""
    if name.partition(".")[0] in ("balsam", "__main__", "__mp_main__"):
        return False
    if INSTALLED_DIRS & set(file.parts):
        return False
    return not str(file).startswith(_python_dirs())


@cache
def _python_dirs() -> tuple[str, str]:
    return (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
