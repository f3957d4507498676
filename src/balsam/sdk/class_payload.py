"""App classes as text, with the user's own code inside, so that a site needs no copy of it."""

from __future__ import annotations

import base64

from balsam.core.limits import MAX_CLASS_CHARS
from balsam.schemas import SerializeError
from balsam.schemas.user_code import user_module_names


def class_payload(cls: type) -> str:
    """The class by value, with what it uses of modules that are not installed packages.

    Raises SerializeError with the class's name where something that it refers to can't be sent.
    """
    payload = _pickled(cls)
    if len(payload) > MAX_CLASS_CHARS:
        raise SerializeError(
            f"the app {cls.__name__} takes {len(payload):,} characters when serialized, and the limit is "
            f"{MAX_CLASS_CHARS:,}: it or a module that it uses holds large values; load them inside run()"
        )
    return payload


def _pickled(cls: type) -> str:
    from balsam.schemas import portable
    from balsam.sdk.class_pickler import ClassPickler

    try:
        prepared = portable.Prepared(cls, user_module_names())
        return base64.b64encode(portable.dumps(prepared, ClassPickler)).decode("ascii")
    except Exception as exc:  # whatever the __reduce__ of an object that it refers to raises
        raise SerializeError(f"the app {cls.__name__} can't be sent to its site: {exc}") from exc
