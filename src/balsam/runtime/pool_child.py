"""What a process of a pool imports of an app: multiprocessing starts it, and it runs this as `__mp_main__`.

The user's script is not run again there, as it is elsewhere; what it defines of the app is in its place.
"""

from __future__ import annotations

import sys
import zipimport
from functools import cache
from types import ModuleType

import orjson

_BEGIN = "/proc/"


@cache
def modules() -> dict[str, ModuleType]:
    """The app's modules by name; they are made of the pickle in the file from which they are imported."""
    from balsam.runtime.shipped import PAYLOAD
    from balsam.schemas.payloads import deserialize_class
    from balsam.schemas.reading import UserModules

    made = UserModules()
    for path in [entry for entry in sys.path if entry.startswith(_BEGIN)]:
        record = orjson.loads(zipimport.zipimporter(path).get_data(PAYLOAD))
        deserialize_class(record["serialized_class"], record["serializer"], made)
    for name, module in made.by_name.items():
        if name != "__main__":
            sys.modules.setdefault(name, module)
    return made.by_name


if __name__ == "__mp_main__":
    from balsam.runtime import pool_child

    script = pool_child.modules().get("__main__")
    globals().update({k: v for k, v in (vars(script) if script else {}).items() if not k.startswith("__")})
